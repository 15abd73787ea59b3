//! Times every kernel at the shapes of Llama-3.1-8B, and what the device can do at most.
//!
//! Each figure is the median of replays of a recorded sequence of launches over several sets of
//! buffers, together larger than the caches, so that weights come from memory as they do in a step.
//! Bytes are those the kernel must move: every input once, every output once. With the rates of
//! [`yardsticks()`] they give the floor that a figure is measured against.

mod cases;
mod sizes;
mod yardsticks;

use std::fmt;

use super::device::CudaDevice;
use super::error::CudaError;
use super::graph::StepGraph;
use super::timer::DeviceTimer;
use crate::rates::DeviceRates;
use sizes::Sizes;

pub use sizes::BenchSize;
pub use yardsticks::{Yardsticks, yardsticks};

/// One kernel at one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The kernel.
    pub name: String,
    /// Its shape.
    pub shape: String,
    /// Of one launch, its boundary to the next included.
    pub microseconds: f64,
    /// What it must read and write.
    pub bytes: f64,
    /// Its multiplications and additions; 0 where they do not matter.
    pub operations: f64,
}

impl Measurement {
    /// Bytes it moved in a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes / self.microseconds * 1e6
    }

    /// Multiplications and additions that it did in a second.
    pub fn operations_per_second(&self) -> f64 {
        self.operations / self.microseconds * 1e6
    }

    /// The least that a device of these rates needs.
    pub fn floor_microseconds(&self, rates: DeviceRates) -> f64 {
        1e6 * rates.floor_s(self.bytes, self.operations)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, shape, microseconds, operations, .. } = self;
        let rate = self.bytes_per_second() / 1e9;
        write!(formatter, "{name:<26} {shape:<38} {microseconds:>9.2} us {rate:>8.0} GB/s")?;
        if *operations > 0.0 {
            write!(formatter, " {:>7.1} TFLOP/s", self.operations_per_second() / 1e12)?;
        }
        Ok(())
    }
}

/// Times every kernel. `on_measurement` hears of each as it is made.
///
/// # Errors
///
/// [`CudaError::ArenaFull`] if the arena is below about 8 GiB; a refused launch.
pub fn bench(
    device: &CudaDevice,
    size: BenchSize,
    on_measurement: impl FnMut(&Measurement),
) -> Result<Vec<Measurement>, CudaError> {
    let mut run = BenchRun::new(device, size, on_measurement)?;
    cases::run(&mut run)?;
    Ok(run.measurements)
}

/// What a case is called and what it must move.
#[derive(Debug, Clone)]
struct Label {
    name: String,
    shape: String,
    bytes: usize,
    operations: usize,
}

/// A bench under way.
struct BenchRun<'a, F> {
    device: &'a CudaDevice,
    sizes: Sizes,
    timer: DeviceTimer,
    measurements: Vec<Measurement>,
    on_measurement: F,
}

impl<'a, F: FnMut(&Measurement)> BenchRun<'a, F> {
    fn new(device: &'a CudaDevice, size: BenchSize, on_measurement: F) -> Result<Self, CudaError> {
        let timer = DeviceTimer::new(device)?;
        Ok(Self { device, sizes: Sizes::of(size), timer, measurements: Vec::new(), on_measurement })
    }

    /// Times `launch(i)` for `i` in `0..num_sets`, recorded one after the other.
    fn measure(
        &mut self,
        label: Label,
        num_sets: usize,
        mut launch: impl FnMut(usize) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        // Once plainly: algorithms are chosen, instruction caches filled.
        for set in 0..num_sets {
            launch(set)?;
        }
        self.device.synchronize()?;
        let graph = StepGraph::record(self.device, num_sets, || (0..num_sets).try_for_each(launch))?;
        graph.launch()?;
        let repeats = self.sizes.repeats;
        let mut times = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            times.push(f64::from(self.timer.time(|| graph.launch())?));
        }
        times.sort_by(f64::total_cmp);
        let Label { name, shape, bytes, operations } = label;
        let measurement = Measurement {
            name,
            shape,
            microseconds: times[repeats / 2] * 1e3 / num_sets as f64,
            bytes: bytes as f64,
            operations: operations as f64,
        };
        (self.on_measurement)(&measurement);
        self.measurements.push(measurement);
        Ok(())
    }
}

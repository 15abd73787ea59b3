//! Times every kernel at the shapes of Llama-3.1-8B, against the memory's roof.
//!
//! Each figure is the median of replays of a recorded sequence of launches over several sets of
//! buffers, together larger than the caches, so that weights come from memory as they do in a step.
//! Bytes are those the kernel must move: every input once, every output once.

mod cases;

use std::fmt;

use super::device::CudaDevice;
use super::error::CudaError;
use super::graph::StepGraph;
use super::timer::DeviceTimer;

/// NVIDIA's figure for an H100 SXM's memory.
pub const H100_BYTES_PER_SECOND: f64 = 3.35e12;

/// How often a recorded sequence is replayed; the median is reported.
const REPEATS: usize = 15;

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
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bytes_per_second();
        write!(
            formatter,
            "{:<26} {:<34} {:>9.2} us {:>8.0} GB/s {:>5.1} % of 3.35 TB/s",
            self.name,
            self.shape,
            self.microseconds,
            rate / 1e9,
            100.0 * rate / H100_BYTES_PER_SECOND,
        )?;
        if self.operations > 0.0 {
            write!(formatter, " {:>7.1} TFLOP/s", self.operations / self.microseconds / 1e6)?;
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
    on_measurement: impl FnMut(&Measurement),
) -> Result<Vec<Measurement>, CudaError> {
    let timer = DeviceTimer::new(device)?;
    let mut run = BenchRun { device, timer, measurements: Vec::new(), on_measurement };
    cases::run(&mut run)?;
    Ok(run.measurements)
}

/// What a case is called and what it must move.
#[derive(Debug, Clone)]
struct Label {
    name: &'static str,
    shape: String,
    bytes: usize,
    operations: usize,
}

/// A bench under way.
struct BenchRun<'a, F> {
    device: &'a CudaDevice,
    timer: DeviceTimer,
    measurements: Vec<Measurement>,
    on_measurement: F,
}

impl<F: FnMut(&Measurement)> BenchRun<'_, F> {
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
        let mut times = Vec::with_capacity(REPEATS);
        for _ in 0..REPEATS {
            times.push(f64::from(self.timer.time(|| graph.launch())?));
        }
        times.sort_by(f64::total_cmp);
        let measurement = Measurement {
            name: label.name.to_owned(),
            shape: label.shape,
            microseconds: times[REPEATS / 2] * 1e3 / num_sets as f64,
            bytes: label.bytes as f64,
            operations: label.operations as f64,
        };
        (self.on_measurement)(&measurement);
        self.measurements.push(measurement);
        Ok(())
    }
}

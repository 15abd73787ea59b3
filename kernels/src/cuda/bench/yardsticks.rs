//! What the device can do at most, measured before anything is measured against it.

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::device::CudaDevice;
use super::super::error::CudaError;
use super::super::ops::linear::{self, Product, ProductOutput};
use super::super::ops::{fill, read};
use super::{BenchRun, BenchSize, Label, Measurement};
use crate::rates::DeviceRates;

/// Blocks of threads that read, for each multiprocessor: as many as run on it at once.
const BLOCKS_PER_MULTIPROCESSOR: usize = 8;

/// What was measured, and with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Yardsticks {
    /// The best of both.
    pub rates: DeviceRates,
    /// Who did the products.
    pub products_by: &'static str,
    /// How they came about.
    pub measurements: Vec<Measurement>,
}

/// Measures how fast the device reads its memory, and how fast it multiplies large bf16 matrices: by cuBLASLt where it is
/// installed, else by our own kernel, which is then the yardstick of itself.
///
/// # Errors
///
/// [`CudaError::ArenaFull`] if the arena is below about 3 GiB; a refused launch.
pub fn yardsticks(device: &CudaDevice, size: BenchSize) -> Result<Yardsticks, CudaError> {
    let mut run = BenchRun::new(device, size, |_: &Measurement| {})?;
    read_bandwidth(&mut run)?;
    let num_reads = run.measurements.len();
    let products_by = product_rate(&mut run)?;
    let measurements = run.measurements;
    let best = |measured: &[Measurement], rate: fn(&Measurement) -> f64| {
        measured.iter().map(rate).fold(f64::MIN_POSITIVE, f64::max)
    };
    let (reads, products) = measurements.split_at(num_reads);
    let rates = DeviceRates {
        bytes_per_s: best(reads, Measurement::bytes_per_second),
        operations_per_s: best(products, Measurement::operations_per_second),
    };
    Ok(Yardsticks { rates, products_by, measurements })
}

fn read_bandwidth<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    let (device, bytes) = (run.device, run.sizes.yardstick_bytes);
    let mut data = device.alloc::<u8>("a bench's input", bytes)?;
    fill::random_bytes(device, &mut data.as_mut_slice(), 1)?;
    let most_blocks = device.info().num_multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    // Fewer blocks with more loads each may be better.
    for blocks in [most_blocks, most_blocks / 2] {
        let mut out = device.alloc::<u32>("a bench's output", read::read_bytes_outputs(blocks))?;
        let (name, shape) = ("read_bytes".to_owned(), format!("{bytes} bytes, {blocks} blocks"));
        let label = Label { name, shape, bytes, operations: 0 };
        run.measure(label, 1, |_| {
            read::read_bytes(device, blocks, data.as_slice(), &mut out.as_mut_slice())
        })?;
    }
    Ok(())
}

fn product_rate<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<&'static str, CudaError> {
    let (device, side) = (run.device, run.sizes.yardstick_side);
    let matrix = |seed| -> Result<DeviceBuffer<bf16>, CudaError> {
        let mut buffer = device.alloc("a bench's input", side * side)?;
        fill::random_bf16(device, &mut buffer.as_mut_slice(), seed, 0.05)?;
        Ok(buffer)
    };
    let (x, w) = (matrix(1)?, matrix(2)?);
    let mut out = device.alloc::<bf16>("a bench's output", side * side)?;
    let name = if device.has_blas() { "cublaslt" } else { "linear_tile_bf16" };
    let label = Label {
        name: name.to_owned(),
        shape: format!("{side} x {side} x {side}"),
        bytes: 3 * 2 * side * side,
        operations: 2 * side * side * side,
    };
    let product = Product { x: x.as_slice(), w: w.as_slice(), bias: None, m: side, n: side, k: side };
    run.measure(label, 1, |_| match device.blas() {
        Some(blas) => blas.product(product.x, product.w, &mut out.as_mut_slice(), [side; 3]),
        None => linear::tiles(device, &product, &ProductOutput::Bf16(out.as_mut_slice())),
    })?;
    Ok(name)
}

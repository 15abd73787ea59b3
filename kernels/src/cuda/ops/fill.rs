//! Weights made on the device: a machine with a GPU may have no network to fetch a model by.
//!
//! Products read weights before they wait for the kernel before, so what follows a fill does not
//! overlap with it.

use half::{bf16, f16};

use super::super::buffer::DeviceSliceMut;
use super::super::device::CudaDevice;
use super::super::error::CudaError;
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};

/// Enough blocks to fill any device; each takes every 1024th piece.
const GRID: [usize; 3] = [1024, 1, 1];
const THREADS: usize = 256;

/// Uniform in `(-amplitude, amplitude)`; element i depends on the seed and i alone.
///
/// # Errors
///
/// [`CudaError::Driver`].
pub fn random_bf16(
    device: &CudaDevice,
    out: &mut DeviceSliceMut<'_, bf16>,
    seed: u64,
    amplitude: f32,
) -> Result<(), CudaError> {
    let arguments = Arguments::new().output(out).wide(out.len() as u64).wide(seed).float(amplitude);
    // SAFETY: the kernel writes `out.len()` elements of `out`, a mutable borrow.
    unsafe { device.launch(Kernel::FillRandomBf16, Grid::new(GRID, THREADS), arguments) }?;
    device.begin_plain_work()
}

/// Uniform in `[low, high)`.
///
/// # Errors
///
/// [`CudaError::Driver`].
pub fn random_f32(
    device: &CudaDevice,
    out: &mut DeviceSliceMut<'_, f32>,
    seed: u64,
    [low, high]: [f32; 2],
) -> Result<(), CudaError> {
    let arguments = Arguments::new().output(out).wide(out.len() as u64).wide(seed).float(low).float(high);
    // SAFETY: as above.
    unsafe { device.launch(Kernel::FillRandomF32, Grid::new(GRID, THREADS), arguments) }?;
    device.begin_plain_work()
}

/// Uniform in `[low, high)`: the scales of quantised weights.
///
/// # Errors
///
/// [`CudaError::Driver`].
pub fn random_f16(
    device: &CudaDevice,
    out: &mut DeviceSliceMut<'_, f16>,
    seed: u64,
    [low, high]: [f32; 2],
) -> Result<(), CudaError> {
    let arguments = Arguments::new().output(out).wide(out.len() as u64).wide(seed).float(low).float(high);
    // SAFETY: as above.
    unsafe { device.launch(Kernel::FillRandomF16, Grid::new(GRID, THREADS), arguments) }?;
    device.begin_plain_work()
}

/// Random bytes: packed quantised weights.
///
/// # Errors
///
/// [`CudaError::Unsupported`] unless the length is a multiple of 16.
pub fn random_bytes(
    device: &CudaDevice,
    out: &mut DeviceSliceMut<'_, u8>,
    seed: u64,
) -> Result<(), CudaError> {
    if !out.len().is_multiple_of(16) {
        return Err(CudaError::Unsupported {
            op: "random_bytes",
            what: "bytes",
            found: out.len().to_string(),
            supported: "a multiple of 16",
        });
    }
    let arguments = Arguments::new().output(out).wide(out.len() as u64).wide(seed);
    // SAFETY: as above.
    unsafe { device.launch(Kernel::FillRandomBytes, Grid::new(GRID, THREADS), arguments) }?;
    device.begin_plain_work()
}

//! Reading memory as fast as the device can: what the speed of everything that streams is measured against.

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::rows::expect_multiple;

const OP: &str = "read_bytes";
const THREADS: usize = 256;

/// Numbers that [`read_bytes`] writes with so many blocks.
pub fn read_bytes_outputs(blocks: usize) -> usize {
    blocks * THREADS
}

/// Reads `data` once; each thread leaves the exclusive or of the words it read.
///
/// # Shapes
///
/// - `data`: a multiple of 16 bytes
/// - `out`: [`read_bytes_outputs`] of `blocks`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for another number of bytes; [`CudaError::Driver`].
///
/// Kernel: `kernels/cuda/read_bytes.cu`.
pub fn read_bytes(
    device: &CudaDevice,
    blocks: usize,
    data: DeviceSlice<'_, u8>,
    out: &mut DeviceSliceMut<'_, u32>,
) -> Result<(), CudaError> {
    expect_multiple(OP, "bytes", data.len(), 16, "a multiple of 16")?;
    expect_equal(OP, "elements of out", out.len(), read_bytes_outputs(blocks))?;
    let arguments = Arguments::new().input(data).wide(data.len() as u64).output(out);
    // SAFETY: the kernel reads `data.len()` bytes and writes one word for each thread, as many as `out`
    // has; `out` is a mutable borrow.
    unsafe { device.launch(Kernel::ReadBytes, Grid::new([blocks, 1, 1], THREADS), arguments) }
}

//! The ends of a step: the likeliest token, and the next step's input made on the device.

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};

/// Pieces into which a row of logits is cut, so that few rows fill the device too.
pub const ARGMAX_CHUNKS: usize = 32;

/// f32 elements of [`argmax`]'s scratch for each row.
pub const ARGMAX_SCRATCH_PER_ROW: usize = 4 * ARGMAX_CHUNKS;

/// What [`argmax`] leaves.
#[derive(Debug)]
pub struct ArgmaxOutput<'a> {
    /// `[rows]`: the likeliest token, the lowest of several.
    pub tokens: DeviceSliceMut<'a, u32>,
    /// `[rows]`: its log-probability.
    pub logprobs: DeviceSliceMut<'a, f32>,
    /// `[rows * ARGMAX_SCRATCH_PER_ROW]`
    pub scratch: DeviceSliceMut<'a, f32>,
}

/// The likeliest token of every row and its log-probability.
///
/// # Shapes
///
/// - `logits`: `[rows, vocab]`
///
/// # Errors
///
/// [`CudaError::Shape`].
pub fn argmax(
    device: &CudaDevice,
    logits: DeviceSlice<'_, f32>,
    out: &mut ArgmaxOutput<'_>,
) -> Result<(), CudaError> {
    const OP: &str = "argmax";
    let rows = out.tokens.len();
    expect_equal(OP, "logprobs", out.logprobs.len(), rows)?;
    expect_equal(OP, "elements of scratch", out.scratch.len(), rows * ARGMAX_SCRATCH_PER_ROW)?;
    let vocab = logits.len() / rows.max(1);
    expect_equal(OP, "elements of logits", logits.len(), rows * vocab)?;
    let partial = Arguments::new().input(logits).output(&out.scratch).size(vocab).size(ARGMAX_CHUNKS);
    let last = Arguments::new()
        .input(out.scratch.as_slice())
        .output(&out.tokens)
        .output(&out.logprobs)
        .size(ARGMAX_CHUNKS);
    // SAFETY: lengths are checked; every output is a mutable borrow of its own.
    unsafe {
        device.launch(Kernel::ArgmaxPartial, Grid::new([ARGMAX_CHUNKS, rows, 1], 256), partial)?;
        device.launch(Kernel::ArgmaxFinal, Grid::new([rows, 1, 1], 32), last)
    }
}

/// Puts each token's id in place: a known one as it is, or the one that a row of the previous step sampled. What that step
/// sampled is kept in `previous`, so that this one may sample anew.
///
/// # Shapes
///
/// - `source`, `tokens`: `[count]`; a source of [`crate::SAMPLED_FLAG`] or more names a row of `sampled`
/// - `sampled`, `previous`: `[rows]`
///
/// # Errors
///
/// [`CudaError::Shape`].
pub fn step_inputs(
    device: &CudaDevice,
    source: DeviceSlice<'_, u32>,
    sampled: DeviceSlice<'_, u32>,
    tokens: &mut DeviceSliceMut<'_, u32>,
    previous: &mut DeviceSliceMut<'_, u32>,
) -> Result<(), CudaError> {
    let (count, rows) = (source.len(), sampled.len());
    expect_equal("step_inputs", "tokens", tokens.len(), count)?;
    expect_equal("step_inputs", "previous", previous.len(), rows)?;
    let arguments = Arguments::new().input(source).input(sampled).output(tokens).output(previous);
    let arguments = arguments.size(count).size(rows);
    let grid = Grid::new([count.max(rows).div_ceil(256), 1, 1], 256);
    // SAFETY: lengths are checked; rows named in `source` were checked by the host.
    unsafe { device.launch(Kernel::StepInputs, grid, arguments) }
}

/// A decode batch that lives on the device.
#[derive(Debug)]
pub struct DecodeState<'a> {
    /// `[seqs]`: the next step's tokens.
    pub tokens: DeviceSliceMut<'a, u32>,
    /// `[seqs]`: their positions.
    pub positions: DeviceSliceMut<'a, u32>,
    /// `[seqs]`: keys with the token's own; 0 fills up a batch and is left alone.
    pub kv_lens: DeviceSliceMut<'a, u32>,
    /// `[seqs]`: where the token's keys and values go.
    pub slots: DeviceSliceMut<'a, u32>,
}

/// Moves every sequence on by the token it sampled.
///
/// # Shapes
///
/// - `sampled`: `[seqs]`; `block_tables`: `[seqs, table_stride]`
///
/// # Errors
///
/// [`CudaError::Shape`].
pub fn step_advance(
    device: &CudaDevice,
    sampled: DeviceSlice<'_, u32>,
    state: &mut DecodeState<'_>,
    block_tables: DeviceSlice<'_, u32>,
    block_size: usize,
) -> Result<(), CudaError> {
    const OP: &str = "step_advance";
    let count = sampled.len();
    for (what, found) in [
        ("tokens", state.tokens.len()),
        ("positions", state.positions.len()),
        ("kv_lens", state.kv_lens.len()),
        ("slots", state.slots.len()),
    ] {
        expect_equal(OP, what, found, count)?;
    }
    let table_stride = block_tables.len() / count.max(1);
    expect_equal(OP, "elements of block_tables", block_tables.len(), count * table_stride)?;
    let arguments = Arguments::new()
        .input(sampled)
        .output(&state.tokens)
        .output(&state.positions)
        .output(&state.kv_lens)
        .output(&state.slots)
        .input(block_tables)
        .size(table_stride)
        .size(block_size)
        .size(count);
    let grid = Grid::new([count.div_ceil(256), 1, 1], 256);
    // SAFETY: lengths are checked; the host reserves a block for every position before it is reached.
    unsafe { device.launch(Kernel::StepAdvance, grid, arguments) }?;
    // The next kernels may read positions and slots before they wait, so the first of them must not overlap.
    device.begin_plain_work()
}

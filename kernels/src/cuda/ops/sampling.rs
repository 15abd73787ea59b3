//! The choice of a token on the device: rules, cuts, draw, log-probabilities, rankings.
//!
//! A row's token is the one that `spillway-models` chooses on the CPU for the same logits, seed, choice and position. What
//! each row asks for is data in device memory, so a recorded step serves any mixture of rows: see [`SamplingRows`].
//!
//! In a request's path: after the decoder's last product, inside the recorded step; nothing here waits for the device.

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};

mod report;
mod rows;

pub use report::{REPORT_WORDS, RowOutcome, SamplingReport};
pub use rows::{Choice, Draw, Exclusion, OutputToken, ROW_WORDS, RowLists, RowPenalties, SamplingRows};

use report::{RESULT_WORDS, TOP_WORDS};

/// The largest vocabulary.
pub const MAX_VOCAB: usize = 1 << 20;

/// The most tokens that are told beside a row's own.
pub const MAX_TOP: usize = 20;

const OP: &str = "sample";
/// Tokens of a block, of a sum and of what a search skips; buckets of a search. As in `sample.cuh`.
const TILE: usize = 4096;
const RUN: usize = 1024;
const GRANULE: usize = 128;
const NUM_BUCKETS: usize = 1024;
/// Blocks of a grid in y.
const MAX_ROWS_AT_ONCE: usize = 65_535;

/// Scratch memory of one row. Scratch for fewer rows than a step has serves too: they are then done group by group.
pub fn scratch_bytes_per_row(vocab: usize) -> usize {
    let tiles = vocab.div_ceil(TILE);
    let sums = 8 * (NUM_BUCKETS + 2 * vocab.div_ceil(RUN) + MAX_TOP * tiles);
    let words = 4 * (NUM_BUCKETS + vocab.div_ceil(GRANULE) + vocab);
    (sums.next_multiple_of(16) + 16 * tiles + words).next_multiple_of(16)
}

/// What [`sample`] reads.
#[derive(Debug, Clone, Copy)]
pub struct SamplingInput<'a> {
    /// `[rows, vocab]`: left as they are.
    pub logits: DeviceSlice<'a, f32>,
    /// `[rows, ROW_WORDS]`: [`SamplingRows::orders`].
    pub orders: DeviceSlice<'a, u32>,
    /// [`SamplingRows::lists`], whose length may change from step to step; only its address is recorded.
    pub lists: DeviceSlice<'a, u32>,
    /// `[slots]`: the tokens of the previous step.
    pub previous: DeviceSlice<'a, u32>,
}

/// What [`sample`] writes.
#[derive(Debug)]
pub struct SamplingOutput<'a> {
    /// `[slots]`: each row's token at its slot; 0 where the row failed, so that it may be looked up all the same.
    pub tokens: DeviceSliceMut<'a, u32>,
    /// `[rows, REPORT_WORDS]`: to be read back and given to [`SamplingReport`].
    pub report: DeviceSliceMut<'a, u32>,
    /// [`scratch_bytes_per_row`] for each row that is done at once.
    pub scratch: DeviceSliceMut<'a, u8>,
}

/// Chooses or scores a token for every row.
///
/// Enqueues three kernels for each group of rows and returns at once. Addresses are fixed, and grids depend on the number of
/// rows and the vocabulary alone.
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] for a vocabulary above [`MAX_VOCAB`] and for memory that does not begin at
/// 16 bytes.
pub fn sample(
    device: &CudaDevice,
    input: SamplingInput<'_>,
    out: &mut SamplingOutput<'_>,
) -> Result<(), CudaError> {
    let rows = input.orders.len() / ROW_WORDS;
    if rows == 0 {
        return Ok(());
    }
    let vocab = input.logits.len() / rows;
    expect_equal(OP, "elements of orders", input.orders.len(), rows * ROW_WORDS)?;
    expect_equal(OP, "elements of logits", input.logits.len(), rows * vocab)?;
    expect_equal(OP, "elements of report", out.report.len(), rows * REPORT_WORDS)?;
    if vocab == 0 || vocab > MAX_VOCAB {
        let supported = "from 1 to 1048576";
        return Err(CudaError::Unsupported { op: OP, what: "vocab", found: vocab.to_string(), supported });
    }
    expect_aligned("orders", input.orders.pointer())?;
    expect_aligned("report", out.report.pointer())?;
    expect_aligned("scratch", out.scratch.pointer())?;
    let at_once = (out.scratch.len() / scratch_bytes_per_row(vocab)).min(MAX_ROWS_AT_ONCE);
    if at_once == 0 {
        let (found, expected) = (out.scratch.len(), scratch_bytes_per_row(vocab));
        return Err(CudaError::Shape { op: OP, what: "bytes of scratch", found, expected });
    }
    let mut first = 0;
    while first < rows {
        let end = rows.min(first + at_once);
        sample_group(device, input, out, first..end, vocab)?;
        first = end;
    }
    Ok(())
}

/// Enqueues the kernels for some of the rows. The scratch memory has room for them.
fn sample_group(
    device: &CudaDevice,
    input: SamplingInput<'_>,
    out: &mut SamplingOutput<'_>,
    group: std::ops::Range<usize>,
    vocab: usize,
) -> Result<(), CudaError> {
    let rows = out.report.len() / REPORT_WORDS;
    let logits = input.logits.slice(group.start * vocab..group.end * vocab);
    let orders = input.orders.slice(group.start * ROW_WORDS..group.end * ROW_WORDS);
    let (results, tops) = out.report.reborrow().split_at(rows * RESULT_WORDS);
    let results = results.slice(group.start * RESULT_WORDS..group.end * RESULT_WORDS);
    let tops = tops.slice(group.start * TOP_WORDS..group.end * TOP_WORDS);
    let adjust = Arguments::new()
        .input(logits)
        .input(orders)
        .input(input.lists)
        .input(input.previous)
        .output(&out.scratch)
        .size(vocab);
    let weigh = Arguments::new().input(logits).input(orders).output(&out.scratch).size(vocab);
    let finish = Arguments::new()
        .input(logits)
        .input(orders)
        .output(&out.scratch)
        .output(&out.tokens)
        .output(&results)
        .output(&tops)
        .size(vocab);
    let by_tile = Grid::new([vocab.div_ceil(TILE), group.len(), 1], 256);
    // SAFETY: lengths and alignment are checked. Orders, lists and references to `previous` are those of `SamplingRows`, which
    // checked them against the vocabulary and the slots. Every output is a mutable borrow of its own.
    unsafe {
        device.launch(Kernel::SampleAdjust, by_tile, adjust)?;
        device.launch(Kernel::SampleWeigh, by_tile, weigh)?;
        device.launch(Kernel::SampleFinish, Grid::new([group.len(), 1, 1], 1024), finish)
    }
}

fn expect_aligned(what: &'static str, pointer: u64) -> Result<(), CudaError> {
    if pointer.is_multiple_of(16) {
        return Ok(());
    }
    let found = format!("{pointer:#x}");
    Err(CudaError::Unsupported { op: OP, what, found, supported: "addresses of a multiple of 16" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same figures stand in `kernels/cuda/emu/test_sampling_draw.cpp`.
    #[test]
    fn scratch_memory_is_as_large_as_the_kernels_take_it_to_be() {
        assert_eq!([1, 300, 128_256].map(scratch_bytes_per_row), [12_496, 13_696, 536_976]);
    }
}

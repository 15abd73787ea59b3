//! The choice of tokens at the end of a step, and how the host learns of it.

use std::ops::Range;

use crate::batch::{BatchLimits, StepBatch};
use crate::cuda::dispatch::CudaFeed;
use crate::cuda::ops::sampling::{
    REPORT_WORDS, ROW_WORDS, RowOutcome, SamplingInput, SamplingOutput, SamplingReport, SamplingRows, sample,
    scratch_bytes_per_row,
};
use crate::cuda::{CudaDevice, CudaError, DeviceBuffer, DeviceSlice, Readback, Readbacks};

/// Rows that are done at once, at most: more of them need more scratch memory, and few gain by it.
const ROWS_AT_ONCE: usize = 64;
/// Steps commonly in flight: one computes, one waits.
const STEPS_IN_FLIGHT: usize = 2;

/// Memory for choosing tokens, made once for the largest step.
#[derive(Debug)]
pub(crate) struct CudaSampler {
    vocab: usize,
    report: DeviceBuffer<u32>,
    scratch: DeviceBuffer<u8>,
    readbacks: Readbacks,
}

impl CudaSampler {
    pub(crate) fn new(device: &CudaDevice, vocab: usize, limits: &BatchLimits) -> Result<Self, CudaError> {
        let rows_at_once = limits.max_rows.clamp(1, ROWS_AT_ONCE);
        let report_len = limits.max_tokens * REPORT_WORDS;
        Ok(Self {
            vocab,
            report: device.alloc_zeros("what is told of sampled tokens", report_len)?,
            scratch: device
                .alloc_zeros("scratch memory of sampling", rows_at_once * scratch_bytes_per_row(vocab))?,
            readbacks: Readbacks::new(device, STEPS_IN_FLIGHT, 4 * report_len)?,
        })
    }

    /// Chooses tokens for the logits numbered `slice` of the step, `logits`: `[slice, vocab]`.
    pub(crate) fn sample(
        &mut self,
        device: &CudaDevice,
        batch: &StepBatch,
        feed: &mut CudaFeed,
        slice: Range<usize>,
        logits: DeviceSlice<'_, f32>,
    ) -> Result<(), CudaError> {
        if slice.is_empty() {
            return Ok(());
        }
        let on_gpu = batch.on_cuda()?;
        let (previous, tokens) = feed.previous_and_sampled();
        let input = SamplingInput {
            logits: logits.slice(0..slice.len() * self.vocab),
            orders: on_gpu.orders()?.slice(slice.start * ROW_WORDS..slice.end * ROW_WORDS),
            lists: on_gpu.lists()?,
            previous,
        };
        let report = self.report.as_mut_slice().slice(slice.start * REPORT_WORDS..slice.end * REPORT_WORDS);
        sample(device, input, &mut SamplingOutput { tokens, report, scratch: self.scratch.as_mut_slice() })
    }

    /// Enqueues the copy of what is told of all tokens of a step, which were chosen in slices of `slice_len`.
    pub(crate) fn read_back(&self, batch: &StepBatch, slice_len: usize) -> Result<CudaTokens, CudaError> {
        let num_rows = batch.num_wanted_logits();
        // The likeliest tokens stand behind the results of their slice. The last slice may be filled up.
        let has_tops = batch.sampling().is_some_and(SamplingRows::has_tops);
        let num_slices = batch.num_logits().div_ceil(slice_len.max(1));
        let first_slice_len = batch.num_logits().min(slice_len);
        let num_bytes = if num_slices <= 1 {
            SamplingReport::num_bytes(first_slice_len, has_tops)
        } else {
            SamplingReport::num_bytes(batch.num_logits(), true)
        };
        let bytes = self.report.as_slice().cast::<u8>().expect("words are whole bytes");
        let readback = self.readbacks.push(bytes.slice(0..num_bytes))?;
        Ok(CudaTokens { readback, num_rows, num_logits: batch.num_logits(), slice_len })
    }
}

/// The tokens of a step on their way to the host.
#[derive(Debug)]
pub(crate) struct CudaTokens {
    readback: Readback,
    num_rows: usize,
    num_logits: usize,
    slice_len: usize,
}

impl CudaTokens {
    /// How many logits belong to sequences.
    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Waits for the step, and tells of the token chosen from logits `row_idx` what came of it and the `num_top` likeliest.
    pub(crate) fn row(
        &self,
        row_idx: usize,
        num_top: usize,
    ) -> Result<(RowOutcome, impl Iterator<Item = (u32, f32)>), CudaError> {
        let bytes = self.readback.wait()?;
        let first = row_idx / self.slice_len * self.slice_len;
        let slice_len = self.slice_len.min(self.num_logits - first);
        let bytes = &bytes[4 * first * REPORT_WORDS..];
        let report = SamplingReport::new(bytes, slice_len).expect("all slices are read back");
        Ok((report.outcome(row_idx - first), report.tops(row_idx - first, num_top)))
    }

    /// Waits for the step.
    pub(crate) fn wait(&self) -> Result<(), CudaError> {
        self.readback.wait().map(drop)
    }
}

//! One step's batch as the ops need it: token ids, positions, cache slots, block tables.
//!
//! Rows are sequences; their tokens stand one after the other, decodes (one token) beside chunks of
//! prompts. All lists are made at start for the largest step and only refilled.
//!
//! # Invariants
//!
//! - Every row has at least one token, and its block table covers all its positions.
//! - `slots[t]` (but for padding) is where token `t`'s key and value go: `block * block_size + offset`.
//! - Row `r` owns tokens `query_starts[r]..query_starts[r + 1]` and blocks
//!   `block_starts[r]..block_starts[r + 1]`.

use std::ops::Range;

#[cfg(feature = "cuda")]
use crate::cuda::CudaError;
#[cfg(feature = "cuda")]
use crate::cuda::dispatch::CudaBatch;
use crate::device::Device;
use crate::error::{KernelError, expect_at_most};

mod padding;
#[cfg(feature = "cuda")]
mod sampling;

pub use padding::Rehearsal;

#[cfg(feature = "cuda")]
use sampling::StepSampling;

/// The largest batch that a [`StepBatch`] is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most tokens of all rows together.
    pub max_tokens: usize,
    /// Most rows.
    pub max_rows: usize,
    /// Most entries of all block tables together.
    pub max_blocks: usize,
    /// Tokens one KV block holds.
    pub block_size: usize,
}

/// One sequence's part of a step, to be added by [`StepBatch::push_row`].
#[derive(Debug, Clone, Copy)]
pub struct BatchRow<'a> {
    /// Ids of the tokens to compute; never empty. On a GPU also [`crate::SAMPLED_FLAG`] and a row of the step before.
    pub tokens: &'a [u32],
    /// Position of the first of them: the number of tokens already in the cache.
    pub start: u32,
    /// The block table: block `i` holds positions from `i * block_size`. Entries past the last
    /// position are ignored.
    pub blocks: &'a [u32],
    /// How many of the row's last tokens need logits; [`crate::ops::gather_rows`] collects them.
    pub num_logits: u32,
}

/// The batch of one step: `tokens` in `rows`.
#[derive(Debug)]
pub struct StepBatch {
    limits: BatchLimits,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    slots: Vec<u32>,
    query_starts: Vec<u32>,
    block_starts: Vec<u32>,
    blocks: Vec<u32>,
    logit_tokens: Vec<u32>,
    largest_block: Option<u32>,
    largest_position: Option<u32>,
    /// Rows that only fill the batch up to a size that is recorded; they are the last ones.
    num_padding_rows: usize,
    /// The shape for which this batch stands, if it has no sequence.
    rehearsal: Option<Rehearsal>,
    /// How tokens are chosen, if that is the device's business.
    #[cfg(feature = "cuda")]
    sampling: Option<StepSampling>,
    /// The batch in device memory, once it has been sent there.
    #[cfg(feature = "cuda")]
    on_gpu: Option<CudaBatch>,
}

impl StepBatch {
    /// An empty batch with room for `limits`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Invalid`] if a block would hold no token, [`KernelError::OverLimit`] if a count
    /// does not fit 32 bits.
    pub fn new(limits: BatchLimits) -> Result<Self, KernelError> {
        if limits.block_size == 0 {
            return Err(KernelError::Invalid { name: "block_size", value: 0, rule: "be at least 1" });
        }
        for (name, value) in [
            ("max_tokens", limits.max_tokens),
            ("max_rows", limits.max_rows),
            ("max_blocks", limits.max_blocks),
            ("block_size", limits.block_size),
        ] {
            expect_at_most(name, value, u32::MAX as usize)?;
        }
        let mut batch = Self {
            limits,
            tokens: Vec::with_capacity(limits.max_tokens),
            positions: Vec::with_capacity(limits.max_tokens),
            slots: Vec::with_capacity(limits.max_tokens),
            query_starts: Vec::with_capacity(limits.max_rows + 1),
            block_starts: Vec::with_capacity(limits.max_rows + 1),
            blocks: Vec::with_capacity(limits.max_blocks),
            logit_tokens: Vec::with_capacity(limits.max_tokens),
            largest_block: None,
            largest_position: None,
            num_padding_rows: 0,
            rehearsal: None,
            #[cfg(feature = "cuda")]
            sampling: None,
            #[cfg(feature = "cuda")]
            on_gpu: None,
        };
        batch.clear();
        Ok(batch)
    }

    /// Takes all rows out; keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.query_starts.clear();
        self.query_starts.push(0);
        self.block_starts.clear();
        self.block_starts.push(0);
        self.blocks.clear();
        self.logit_tokens.clear();
        self.largest_block = None;
        self.largest_position = None;
        self.num_padding_rows = 0;
        self.rehearsal = None;
        #[cfg(feature = "cuda")]
        if let Some(sampling) = &mut self.sampling {
            sampling.rows.clear();
            sampling.is_on = false;
        }
    }

    /// Hands the finished batch to `device`; call it after the last row and before the first op.
    ///
    /// On a GPU a batch of decodes alone is filled up with rows of no sequence to a size whose step is recorded, so
    /// there may be more tokens and rows afterwards. On the CPU nothing happens.
    ///
    /// # Errors
    ///
    /// `KernelError::Cuda`, if the GPU refuses memory or the copy.
    pub fn upload(&mut self, device: &Device) -> Result<(), KernelError> {
        match device {
            Device::Cpu(_) => {}
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let mut on_gpu = if let Some(on_gpu) = self.on_gpu.take() {
                    on_gpu
                } else {
                    let max_list_words = self.sampling.as_ref().map(|sampling| sampling.max_list_words);
                    CudaBatch::new(cuda, self.limits, max_list_words)?
                };
                if let Some(num_rows) = on_gpu.padded_rows(self) {
                    self.pad(num_rows);
                }
                let sent = on_gpu.send(self);
                self.on_gpu = Some(on_gpu);
                sent?;
            }
        }
        Ok(())
    }

    /// The batch in device memory.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(&self) -> Result<&CudaBatch, KernelError> {
        Ok(self.on_cuda()?)
    }

    /// The same, for callers that know that there is a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_cuda(&self) -> Result<&CudaBatch, CudaError> {
        self.on_gpu.as_ref().ok_or(CudaError::NotUploaded)
    }

    /// Whether row `row_idx` is there only to fill up the batch.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_padding(&self, row_idx: usize) -> bool {
        row_idx >= self.num_rows() - self.num_padding_rows
    }

    /// Adds one row. A refused row leaves the batch as it was.
    ///
    /// # Errors
    ///
    /// [`KernelError::OverLimit`] if the row does not fit, names more logits than tokens, or reaches
    /// past its block table; [`KernelError::Invalid`] if it has no token.
    pub fn push_row(&mut self, row: BatchRow<'_>) -> Result<(), KernelError> {
        let num_new = row.tokens.len();
        if num_new == 0 {
            return Err(KernelError::Invalid { name: "tokens of a row", value: 0, rule: "be at least 1" });
        }
        let block_size = self.limits.block_size;
        let kv_len = row.start as usize + num_new;
        expect_at_most("rows", self.num_rows() + 1, self.limits.max_rows)?;
        expect_at_most("tokens", self.tokens.len() + num_new, self.limits.max_tokens)?;
        expect_at_most("logits of a row", row.num_logits as usize, num_new)?;
        expect_at_most("kv_len", kv_len, row.blocks.len().saturating_mul(block_size))?;
        let blocks = &row.blocks[..kv_len.div_ceil(block_size)];
        expect_at_most("blocks", self.blocks.len() + blocks.len(), self.limits.max_blocks)?;
        let largest_block = blocks.iter().copied().max();
        expect_at_most(
            "slot",
            (largest_block.map_or(0, |block| block as usize) + 1).saturating_mul(block_size) - 1,
            u32::MAX as usize,
        )?;
        self.append(row, blocks, largest_block);
        Ok(())
    }

    /// Adds a row that has been checked.
    fn append(&mut self, row: BatchRow<'_>, blocks: &[u32], largest_block: Option<u32>) {
        let block_size = self.limits.block_size;
        let num_new = row.tokens.len();
        let start = row.start as usize;
        self.tokens.extend_from_slice(row.tokens);
        for position in start..start + num_new {
            let block = blocks[position / block_size] as usize;
            self.positions.push(position as u32);
            self.slots.push((block * block_size + position % block_size) as u32);
        }
        let end = self.tokens.len();
        self.logit_tokens.extend((end - row.num_logits as usize..end).map(|token| token as u32));
        self.blocks.extend_from_slice(blocks);
        self.query_starts.push(end as u32);
        self.block_starts.push(self.blocks.len() as u32);
        self.largest_block = self.largest_block.max(largest_block);
        self.largest_position = self.largest_position.max(self.positions.last().copied());
    }

    /// The limits it was made for.
    pub fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// How many tokens the step computes, padding included.
    pub fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// How many rows (sequences) it has, padding included.
    pub fn num_rows(&self) -> usize {
        self.query_starts.len() - 1
    }

    /// How many tokens need logits, padding included.
    pub fn num_logits(&self) -> usize {
        self.logit_tokens.len()
    }

    /// How many of those belong to sequences; they come first.
    pub fn num_wanted_logits(&self) -> usize {
        let num_real_tokens = self.tokens.len() - self.num_padding_rows;
        self.logit_tokens.partition_point(|&token| (token as usize) < num_real_tokens)
    }

    /// Token ids: `[tokens]`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Each token's position in its sequence: `[tokens]`.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Where each token's key and value go: `[tokens]`.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The tokens that need logits, ascending: `[logits]`.
    pub fn logit_tokens(&self) -> &[u32] {
        &self.logit_tokens
    }

    /// The tokens of row `row_idx`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_tokens(&self, row_idx: usize) -> Range<usize> {
        self.query_starts[row_idx] as usize..self.query_starts[row_idx + 1] as usize
    }

    /// The block table of row `row_idx`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row_blocks(&self, row_idx: usize) -> &[u32] {
        &self.blocks[self.block_starts[row_idx] as usize..self.block_starts[row_idx + 1] as usize]
    }

    /// The largest block that any row names.
    pub(crate) fn largest_block(&self) -> Option<u32> {
        self.largest_block
    }

    /// The largest position of any token.
    pub(crate) fn largest_position(&self) -> Option<u32> {
        self.largest_position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> StepBatch {
        let limits = BatchLimits { max_tokens: 8, max_rows: 2, max_blocks: 4, block_size: 4 };
        StepBatch::new(limits).expect("limits are fine")
    }

    #[test]
    fn lays_out_a_decode_beside_a_chunk() {
        let mut batch = small();
        let decode = BatchRow { tokens: &[7], start: 5, blocks: &[9, 3, 77], num_logits: 1 };
        let chunk = BatchRow { tokens: &[1, 2, 3], start: 2, blocks: &[6, 4], num_logits: 0 };
        batch.push_row(decode).expect("fits");
        batch.push_row(chunk).expect("fits");
        assert_eq!(batch.tokens(), [7, 1, 2, 3]);
        assert_eq!(batch.positions(), [5, 2, 3, 4]);
        assert_eq!(batch.slots(), [3 * 4 + 1, 6 * 4 + 2, 6 * 4 + 3, 4 * 4]);
        assert_eq!(batch.logit_tokens(), [0]);
        assert_eq!((batch.row_tokens(1), batch.row_blocks(0)), (1..4, &[9, 3][..]));
        assert_eq!((batch.largest_block(), batch.largest_position()), (Some(9), Some(5)));
        batch.clear();
        assert_eq!((batch.num_tokens(), batch.num_rows(), batch.largest_block()), (0, 0, None));
    }

    #[test]
    fn refuses_a_row_that_does_not_fit_and_stays_as_it_was() {
        let mut batch = small();
        let row = BatchRow { tokens: &[1, 2], start: 0, blocks: &[0], num_logits: 1 };
        for (refused, message) in [
            (BatchRow { tokens: &[], ..row }, "`tokens of a row` is 0, but must be at least 1"),
            (BatchRow { start: 3, ..row }, "`kv_len` is 5, limit 4"),
            (BatchRow { tokens: &[0; 9], blocks: &[0; 3], ..row }, "`tokens` is 9, limit 8"),
            (BatchRow { num_logits: 3, ..row }, "`logits of a row` is 3, limit 2"),
            (BatchRow { start: 16, blocks: &[0; 5], ..row }, "`blocks` is 5, limit 4"),
            (BatchRow { blocks: &[u32::MAX], ..row }, "`slot` is 17179869183, limit 4294967295"),
        ] {
            assert_eq!(batch.push_row(refused).expect_err("does not fit").to_string(), message);
            assert_eq!((batch.num_tokens(), batch.num_rows()), (0, 0));
        }
        batch.push_row(row).expect("fits");
        batch.push_row(row).expect("fits");
        assert_eq!(batch.push_row(row).expect_err("third row").to_string(), "`rows` is 3, limit 2");
    }
}

//! THE transformer: one decoder for all architectures, driven by a [`DecoderSpec`].
//!
//! It calls `spillway_kernels::ops` over buffers made at start and never learns which device computes. Nothing
//! allocates in a step.
//!
//! # Invariants
//!
//! - A token's logits depend on its own sequence's tokens only: not on which rows share the step, on how a prompt was
//!   chunked, or on the block size. The ops promise it; here no op sees more than tokens, positions and block tables.
//!
//! In a request's path: between [`crate::ModelRunner`] and the kernels.

use std::ops::Range;

use spillway_kernels::{BatchLimits, BatchRow, Device, PagedKv, RecordedSteps, StepBatch};
use spillway_types::BlockSize;

use crate::batch::{ForwardBatch, InputToken};
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::model::{Logits, Model};
use crate::runner::RunnerLimits;
use crate::spec::DecoderSpec;

mod buffers;
mod rope_table;
mod step;
mod weights;

pub(crate) use weights::{DecoderWeights, WeightLoader};

use buffers::Buffers;
use rope_table::RopeTable;
use step::{Pending, Step};

/// Tokens of a block that the batch is first made for; a cache with others has it made anew once.
const COMMON_BLOCK_SIZE: u32 = 16;

/// A transformer with its weights, its buffers and its device.
#[derive(Debug)]
pub(crate) struct Decoder {
    spec: DecoderSpec,
    limits: RunnerLimits,
    device: Device,
    weights: DecoderWeights,
    ropes: Vec<RopeTable>,
    buffers: Buffers,
    batch: StepBatch,
    /// Of that batch.
    recorded: RecordedSteps,
    row_scratch: RowScratch,
}

/// One row's tokens and blocks as the kernels name them.
#[derive(Debug)]
struct RowScratch {
    tokens: Vec<u32>,
    blocks: Vec<u32>,
}

impl Decoder {
    /// Makes all buffers for steps up to `limits`.
    pub(crate) fn new(
        device: Device,
        spec: DecoderSpec,
        weights: DecoderWeights,
        limits: RunnerLimits,
    ) -> Result<Self, ModelError> {
        let max_positions = limits.max_model_len as usize;
        let ropes = spec.ropes.iter().map(|rope| RopeTable::new(&device, rope, max_positions));
        let ropes = ropes.collect::<Result<Vec<_>, _>>()?;
        let buffers = Buffers::new(&device, &spec, &limits)?;
        let mut batch = step_batch(&limits, COMMON_BLOCK_SIZE)?;
        // Takes the room that it needs on the device now, so that no step can find it gone.
        batch.upload(&device)?;
        let row_scratch = RowScratch {
            tokens: Vec::with_capacity(limits.max_num_batched_tokens as usize),
            blocks: Vec::with_capacity(limits.max_model_len as usize),
        };
        let recorded = RecordedSteps::default();
        Ok(Self { spec, limits, device, weights, ropes, buffers, batch, recorded, row_scratch })
    }

    /// Hands the batch to the kernels' own form.
    fn fill_batch(&mut self, batch: &ForwardBatch, block_size: BlockSize) -> Result<(), ModelError> {
        let block_tokens = block_size.tokens();
        if self.batch.limits().block_size != block_tokens as usize {
            // Only in the first step, or when a test changes the cache under a decoder.
            self.batch = step_batch(&self.limits, block_tokens)?;
            self.recorded = RecordedSteps::default();
        }
        self.batch.clear();
        let RowScratch { tokens, blocks } = &mut self.row_scratch;
        for row in &batch.rows {
            let row_tokens = &batch.tokens[row.tokens.start as usize..row.tokens.end as usize];
            tokens.clear();
            for token in row_tokens {
                match token {
                    InputToken::Known(id) => tokens.push(id.0),
                    InputToken::Sampled { row } => {
                        return Err(crate::batch::BatchError::TooLarge {
                            what: "previous row",
                            value: u64::from(*row),
                            limit: 0,
                        }
                        .into());
                    }
                }
            }
            blocks.clear();
            let row_blocks = &batch.block_ids[row.blocks.start as usize..row.blocks.end as usize];
            blocks.extend(row_blocks.iter().map(|block| block.0));
            self.batch.push_row(BatchRow {
                tokens,
                start: row.kv_len - row.tokens.len() as u32,
                blocks,
                num_logits: row.num_logits(),
            })?;
        }
        Ok(self.batch.upload(&self.device)?)
    }

    /// All layers and the final norm, and the logits of the first slice of tokens that need them.
    fn forward_layers(&mut self, kv: &mut [PagedKv], slice: Range<usize>) -> Result<(), ModelError> {
        let Self { spec, device, batch, ropes, weights, buffers, recorded, .. } = self;
        let step = Step { spec, device, batch, ropes };
        recorded.run(device, batch, kv, |kv| {
            step.embed(weights, buffers)?;
            let mut pending = Pending::Nothing;
            for ((weights, layer), kv) in weights.layers.iter().zip(&spec.layers).zip(kv) {
                step.add_and_norm(pending, &weights.attention_norm, buffers)?;
                step.attention(weights, layer, kv, buffers)?;
                pending = Pending::Delta(weights.post_attention_norm.as_ref());
                step.add_and_norm(pending, &weights.ffn_norm, buffers)?;
                step.feed_forward(&weights.feed_forward, buffers)?;
                pending = Pending::Delta(weights.post_ffn_norm.as_ref());
            }
            step.add_and_norm(pending, &weights.final_norm, buffers)?;
            step.head(weights, slice, buffers)
        })
    }

    /// The logits of another slice.
    fn forward_head(&mut self, slice: Range<usize>) -> Result<(), ModelError> {
        let Self { spec, device, batch, ropes, weights, buffers, .. } = self;
        Step { spec, device, batch, ropes }.head(weights, slice, buffers)
    }

    /// The first `num_logits` logits of the slice computed last.
    fn logits(&mut self, num_logits: usize) -> Result<Logits<'_>, ModelError> {
        let Buffers { logits, host_logits, .. } = &mut self.buffers;
        let logits = logits.rows(num_logits)?.f32_on_host("logits", host_logits)?;
        Ok(Logits::new(logits, self.spec.vocab_size))
    }
}

impl Model for Decoder {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        self.fill_batch(batch, kv.block_size())?;
        // Rows that sample fit one slice; the tokens of a prompt that is scored may take several.
        let slice_len = self.limits.max_num_seqs as usize;
        let num_wanted = self.batch.num_wanted_logits();
        let first = 0..self.batch.num_logits().min(slice_len);
        self.forward_layers(kv.layers_mut(), first)?;
        for start in (0..num_wanted).step_by(slice_len) {
            let end = num_wanted.min(start + slice_len);
            if start > 0 {
                self.forward_head(start..end)?;
            }
            sink(self.logits(end - start)?);
        }
        Ok(())
    }
}

fn step_batch(limits: &RunnerLimits, block_tokens: u32) -> Result<StepBatch, ModelError> {
    let blocks_per_row = limits.max_model_len.div_ceil(block_tokens) as usize;
    let max_rows = limits.max_num_seqs as usize;
    Ok(StepBatch::new(BatchLimits {
        max_tokens: limits.max_num_batched_tokens as usize,
        max_rows,
        max_blocks: max_rows.saturating_mul(blocks_per_row),
        block_size: block_tokens as usize,
    })?)
}

#[cfg(test)]
mod tests;

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

use spillway_kernels::{BatchLimits, BatchRow, Device, StepBatch, ops};
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
        let batch = step_batch(&limits, COMMON_BLOCK_SIZE)?;
        let row_scratch = RowScratch {
            tokens: Vec::with_capacity(limits.max_num_batched_tokens as usize),
            blocks: Vec::with_capacity(limits.max_model_len as usize),
        };
        Ok(Self { spec, limits, device, weights, ropes, buffers, batch, row_scratch })
    }

    /// Hands the batch to the kernels' own form.
    fn fill_batch(&mut self, batch: &ForwardBatch, block_size: BlockSize) -> Result<(), ModelError> {
        let block_tokens = block_size.tokens();
        if self.batch.limits().block_size != block_tokens as usize {
            // Only in the first step, or when a test changes the cache under a decoder.
            self.batch = step_batch(&self.limits, block_tokens)?;
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
        Ok(())
    }

    /// All layers and the final norm.
    fn forward_layers(&mut self, kv: &mut KvCache) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        ops::embed(
            &self.device,
            &self.batch,
            &self.weights.embedding,
            self.weights.embedding_scale,
            self.buffers.residual.rows_mut(num_tokens)?,
        )?;
        let step = Step { spec: &self.spec, device: &self.device, batch: &self.batch, ropes: &self.ropes };
        let buffers = &mut self.buffers;
        let mut pending = Pending::Nothing;
        let layers = self.weights.layers.iter().zip(&self.spec.layers);
        for ((weights, layer), kv) in layers.zip(kv.layers_mut()) {
            step.add_and_norm(pending, &weights.attention_norm, buffers)?;
            step.attention(weights, layer, kv, buffers)?;
            pending = Pending::Delta(weights.post_attention_norm.as_ref());
            step.add_and_norm(pending, &weights.ffn_norm, buffers)?;
            step.feed_forward(&weights.feed_forward, buffers)?;
            pending = Pending::Delta(weights.post_ffn_norm.as_ref());
        }
        step.add_and_norm(pending, &self.weights.final_norm, buffers)
    }

    /// The logits of some of the tokens that need them, as many as there is room for.
    fn head(&mut self, slice: Range<usize>) -> Result<Logits<'_>, ModelError> {
        let buffers = &mut self.buffers;
        let num_logits = slice.len();
        ops::gather_rows(
            &self.device,
            &self.batch,
            slice,
            buffers.normed.rows(self.batch.num_tokens())?,
            buffers.gathered.rows_mut(num_logits)?,
        )?;
        ops::linear(
            &self.device,
            &mut buffers.workspace,
            ops::LinearArguments {
                x: buffers.gathered.rows(num_logits)?,
                weight: self.weights.head.as_ref().unwrap_or(&self.weights.embedding),
                bias: None,
            },
            buffers.logits.rows_mut(num_logits)?,
        )?;
        if let Some(cap) = self.spec.logit_soft_cap {
            ops::soft_cap(&self.device, cap, buffers.logits.rows_mut(num_logits)?)?;
        }
        let logits = buffers.logits.rows(num_logits)?.as_f32("logits")?;
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
        self.forward_layers(kv)?;
        let num_logits = self.batch.num_logits();
        // Rows that sample fit one slice; the tokens of a prompt that is scored may take several.
        let slice_len = self.limits.max_num_seqs as usize;
        for start in (0..num_logits).step_by(slice_len) {
            sink(self.head(start..num_logits.min(start + slice_len))?);
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

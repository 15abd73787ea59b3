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

use spillway_kernels::{BatchLimits, BatchRow, Device, PagedKv, RecordedSteps, SAMPLED_FLAG, StepBatch};
use spillway_types::BlockSize;

use crate::batch::{ForwardBatch, InputToken};
use crate::error::ModelError;
use crate::kv_cache::KvCache;
#[cfg(feature = "cuda")]
use crate::model::PendingTokens;
use crate::model::{Logits, Model};
use crate::runner::RunnerLimits;
use crate::spec::DecoderSpec;

mod buffers;
#[cfg(feature = "cuda")]
mod device_sampling;
mod role;
mod rope_table;
mod step;
mod weights;

pub(crate) use role::MatrixRole;
pub(crate) use weights::{DecoderWeights, WeightLoader};

use buffers::Buffers;
#[cfg(feature = "cuda")]
use device_sampling::DeviceTokens;
use rope_table::RopeTable;
use step::Step;

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
        let batch_limits = batch_limits(&limits, COMMON_BLOCK_SIZE);
        let buffers = Buffers::new(&device, &spec, &limits, &batch_limits)?;
        let mut batch = step_batch(&spec, &buffers, batch_limits)?;
        // Takes the room that it needs on the device now, so that no step can find it gone.
        batch.upload(&device)?;
        let row_scratch = RowScratch {
            tokens: Vec::with_capacity(limits.max_num_batched_tokens as usize),
            blocks: Vec::with_capacity(limits.max_model_len as usize),
        };
        let recorded = RecordedSteps::default();
        Ok(Self { spec, limits, device, weights, ropes, buffers, batch, recorded, row_scratch })
    }

    /// Empties the batch, which is of blocks of the cache's size.
    fn clear_batch(&mut self, block_size: BlockSize) -> Result<(), ModelError> {
        let block_tokens = block_size.tokens();
        if self.batch.limits().block_size != block_tokens as usize {
            // Only in the first step, or when a test changes the cache under a decoder.
            let limits = batch_limits(&self.limits, block_tokens);
            self.batch = step_batch(&self.spec, &self.buffers, limits)?;
            self.recorded = RecordedSteps::default();
        }
        self.batch.clear();
        Ok(())
    }

    /// Hands the batch to the kernels' own form.
    fn fill_batch(&mut self, batch: &ForwardBatch, block_size: BlockSize) -> Result<(), ModelError> {
        self.clear_batch(block_size)?;
        let RowScratch { tokens, blocks } = &mut self.row_scratch;
        for row in &batch.rows {
            let row_tokens = &batch.tokens[row.tokens.start as usize..row.tokens.end as usize];
            tokens.clear();
            tokens.extend(row_tokens.iter().map(|token| match *token {
                InputToken::Known(id) => id.0,
                InputToken::Sampled { row } => SAMPLED_FLAG + row,
            }));
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

    /// All layers and the final norm, and the logits of the first slice of tokens that need them.
    fn forward_layers(&mut self, kv: &mut [PagedKv], slice: Range<usize>) -> Result<(), ModelError> {
        let Self { spec, device, batch, ropes, weights, buffers, recorded, .. } = self;
        let step = Step { spec, device, batch, ropes };
        recorded.run(device, batch, kv, |kv| step.all_layers(weights, kv, slice, buffers))
    }

    /// Records the step that the batch stands for.
    #[cfg(feature = "cuda")]
    fn rehearse(&mut self, kv: &mut [PagedKv]) -> Result<(), ModelError> {
        let Self { spec, device, batch, ropes, weights, buffers, recorded, .. } = self;
        batch.upload(device)?;
        let slice = 0..batch.num_logits();
        let step = Step { spec, device, batch, ropes };
        recorded.rehearse(device, batch, kv, |kv| step.all_layers(weights, kv, slice.clone(), buffers))
    }

    /// The logits of another slice.
    fn forward_head(&mut self, slice: Range<usize>) -> Result<(), ModelError> {
        let Self { spec, device, batch, ropes, weights, buffers, .. } = self;
        Step { spec, device, batch, ropes }.head_and_sample(weights, slice, buffers)
    }

    /// The step of the batch, which has been uploaded. Each slice of logits is there for `slice_done`.
    fn forward_slices(
        &mut self,
        kv: &mut KvCache,
        mut slice_done: impl FnMut(&mut Self, usize) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let slice_len = self.slice_len();
        let num_wanted = self.batch.num_wanted_logits();
        let first = 0..self.batch.num_logits().min(slice_len);
        self.forward_layers(kv.layers_mut(), first)?;
        for start in (0..num_wanted).step_by(slice_len) {
            let end = num_wanted.min(start + slice_len);
            if start > 0 {
                self.forward_head(start..end)?;
            }
            slice_done(self, end - start)?;
        }
        Ok(())
    }

    /// Logits that are computed at once. Rows that sample fit one slice; the tokens of a prompt that is scored may take
    /// several.
    fn slice_len(&self) -> usize {
        self.limits.max_num_seqs as usize
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
        self.batch.upload(&self.device)?;
        self.forward_slices(kv, |decoder, num_logits| {
            sink(decoder.logits(num_logits)?);
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn prepare(&mut self, kv: &mut KvCache) -> Result<usize, ModelError> {
        self.clear_batch(kv.block_size())?;
        for rehearsal in self.batch.rehearsals(&self.device)? {
            self.batch.fill_rehearsal(rehearsal);
            self.rehearse(kv.layers_mut())?;
        }
        Ok(self.recorded.num_recorded())
    }

    #[cfg(feature = "cuda")]
    fn launch(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
    ) -> Result<Option<Box<dyn PendingTokens>>, ModelError> {
        if self.buffers.sampler.is_none() {
            return Ok(None);
        }
        self.fill_batch(batch, kv.block_size())?;
        device_sampling::ask(&mut self.batch, batch)?;
        if !self.batch.settle_sampling() {
            return Ok(None);
        }
        self.batch.upload(&self.device)?;
        self.forward_slices(kv, |_, _| Ok(()))?;
        let Some(sampler) = &self.buffers.sampler else { return Ok(None) };
        let chosen = sampler.read_back(&self.batch, self.slice_len())?;
        Ok(Some(Box::new(DeviceTokens(chosen))))
    }
}

/// An empty batch, with room for what rows ask of the device's sampler.
fn step_batch(spec: &DecoderSpec, buffers: &Buffers, limits: BatchLimits) -> Result<StepBatch, ModelError> {
    let batch = StepBatch::new(limits)?;
    #[cfg(feature = "cuda")]
    if buffers.sampler.is_some() {
        let max_model_len = limits.max_blocks / limits.max_rows.max(1) * limits.block_size;
        let words = device_sampling::max_list_words(spec.vocab_size, limits.max_rows, max_model_len);
        return Ok(batch.with_sampling(spec.vocab_size, words)?);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (spec, buffers);
    Ok(batch)
}

fn batch_limits(limits: &RunnerLimits, block_tokens: u32) -> BatchLimits {
    let blocks_per_row = limits.max_model_len.div_ceil(block_tokens) as usize;
    let max_rows = limits.max_num_seqs as usize;
    BatchLimits {
        max_tokens: limits.max_num_batched_tokens as usize,
        max_rows,
        max_blocks: max_rows.saturating_mul(blocks_per_row),
        block_size: block_tokens as usize,
    }
}

#[cfg(test)]
mod tests;

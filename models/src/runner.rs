//! Runs steps: checks the batch, fills in tokens of the step before, asks the model for logits, samples.
//!
//! It works for any [`Model`] and holds all the state that steps share: the KV cache, the sampler's scratch, and what the
//! last step sampled. Where the device chooses tokens, steps follow one another there without waiting for the host.
//!
//! In a request's path: called by the engine's executor, once a step, in launch order.

use std::sync::Arc;

use spillway_types::TokenId;

use crate::batch::{BatchLimits, ForwardBatch, InputToken, SampledTokens};
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::model::Model;
use crate::sampling::Sampler;

mod outcome;
mod reader;

pub use outcome::LaunchedStep;

use outcome::{StepOutcome, is_missing};
use reader::LogitsReader;

/// The largest step and the longest sequence that the runner's model was loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerLimits {
    /// Most tokens of one step.
    pub max_num_batched_tokens: u32,
    /// Most rows of one step.
    pub max_num_seqs: u32,
    /// Most positions of one sequence.
    pub max_model_len: u32,
}

/// A model, its KV cache and its sampler.
pub struct ModelRunner {
    model: Box<dyn Model>,
    kv: KvCache,
    sampler: Sampler,
    limits: RunnerLimits,
    /// What came of the step before.
    last: Arc<StepOutcome>,
    resolved: ForwardBatch,
    /// What the sequences of this step have generated, all of it known.
    outputs: Vec<TokenId>,
    /// Whether each row of this step continues a token that was never sampled.
    is_orphan: Vec<bool>,
}

impl ModelRunner {
    /// Puts a loaded model and its cache together. `limits` are those that the model was loaded with.
    pub fn new(model: Box<dyn Model>, kv: KvCache, limits: RunnerLimits) -> Self {
        let sampler = Sampler::new(model.spec().vocab_size);
        Self {
            model,
            kv,
            sampler,
            limits,
            last: Arc::new(StepOutcome::missing(0)),
            resolved: ForwardBatch::default(),
            outputs: Vec::new(),
            is_orphan: Vec::new(),
        }
    }

    /// Makes ready what steps would else make when they first need it, and says for how many shapes of steps that was.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the device cannot.
    pub fn prepare(&mut self) -> Result<usize, ModelError> {
        self.model.prepare(&mut self.kv)
    }

    /// The cache, for its size.
    pub fn kv(&self) -> &KvCache {
        &self.kv
    }

    /// The model, for its spec.
    pub fn model(&self) -> &dyn Model {
        &*self.model
    }

    /// The limits it was made with.
    pub fn limits(&self) -> RunnerLimits {
        self.limits
    }

    /// Computes one step: scores what rows ask for, and samples a token for every row that wants one.
    ///
    /// # Errors
    ///
    /// As [`Self::launch`] and [`LaunchedStep::finish`].
    pub fn run(&mut self, batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        self.launch(batch.clone())?.finish()
    }

    /// Begins one step. On a device that chooses tokens itself this returns before the step is done, so that the next one may
    /// be begun; elsewhere the step is done.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the step as a whole failed: the batch was not well formed, or the model could not compute it.
    /// After that, rows of the next step that continue this one's tokens fail one by one. A row whose logits are no
    /// distribution is an error in its own entry of the result.
    pub fn launch(&mut self, batch: ForwardBatch) -> Result<LaunchedStep, ModelError> {
        // Should the step fail or panic, then what continues it must find missing tokens, not older ones.
        let missing = Arc::new(StepOutcome::missing(batch.rows.len()));
        let previous = std::mem::replace(&mut self.last, missing);
        let outcome = Arc::new(self.check_and_launch(batch, previous)?);
        self.last = Arc::clone(&outcome);
        Ok(LaunchedStep(outcome))
    }

    fn check_and_launch(
        &mut self,
        batch: ForwardBatch,
        previous: Arc<StepOutcome>,
    ) -> Result<StepOutcome, ModelError> {
        batch.check(&BatchLimits {
            max_num_batched_tokens: self.limits.max_num_batched_tokens,
            max_num_seqs: self.limits.max_num_seqs,
            vocab_size: self.model.spec().vocab_size as u32,
            max_model_len: self.limits.max_model_len,
            block_size: self.kv.block_size(),
            num_blocks: self.kv.num_blocks(),
            num_previous_rows: previous.num_rows() as u32,
        })?;
        let pending = if previous.is_on_device() {
            self.model.launch(&batch, &mut self.kv)?
        } else {
            self.resolve(&batch, previous.tokens());
            self.model.launch(&self.resolved, &mut self.kv)?
        };
        if let Some(pending) = pending {
            return Ok(StepOutcome::on_device(pending, batch, previous));
        }
        if previous.is_on_device() {
            self.resolve(&batch, previous.tokens());
        }
        let mut reader =
            LogitsReader::new((&self.resolved, &self.outputs), &mut self.sampler, &self.is_orphan);
        self.model.forward(&self.resolved, &mut self.kv, &mut |logits| reader.read(logits))?;
        Ok(StepOutcome::known(reader.finish()))
    }

    /// Copies the batch and puts known tokens where it names rows of the previous step.
    fn resolve(&mut self, batch: &ForwardBatch, previous: &[Option<TokenId>]) {
        // If a token is missing, its row's result is thrown away, so any token will do.
        let known = |token: InputToken| match token {
            InputToken::Known(token) => token,
            InputToken::Sampled { row } => previous[row as usize].unwrap_or(TokenId(0)),
        };
        self.resolved.clone_from(batch);
        self.is_orphan.clear();
        for row in &batch.rows {
            let tokens = &mut self.resolved.tokens[row.tokens.start as usize..row.tokens.end as usize];
            self.is_orphan.push(tokens.iter().any(|token| is_missing(*token, previous)));
            for token in tokens {
                *token = InputToken::Known(known(*token));
            }
        }
        self.outputs.clear();
        self.outputs.extend(batch.outputs.iter().map(|token| known(*token)));
        for (token, known) in self.resolved.outputs.iter_mut().zip(&self.outputs) {
            *token = InputToken::Known(*known);
        }
    }
}

#[cfg(test)]
mod tests;

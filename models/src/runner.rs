//! Runs steps: checks the batch, fills in tokens of the step before, asks the model for logits, samples.
//!
//! It works for any [`Model`] and holds all the state that steps share: the KV cache, the sampler's scratch, and what the
//! last step sampled.
//!
//! In a request's path: called by the engine's executor, once a step, in launch order.

use spillway_types::TokenId;

use crate::batch::{BatchLimits, ForwardBatch, InputToken, RowTokens, SampledTokens};
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::model::Model;
use crate::sampling::Sampler;

mod reader;

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
    /// The last token that each row of the previous step sampled.
    previous: Vec<Option<TokenId>>,
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
            previous: Vec::new(),
            resolved: ForwardBatch::default(),
            outputs: Vec::new(),
            is_orphan: Vec::new(),
        }
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
    /// [`ModelError`] if the step as a whole failed: the batch was not well formed, or the model could not compute it.
    /// After that, rows of the next step that continue this one's tokens fail one by one. A row whose logits are no
    /// distribution is an error in its own entry of the result.
    pub fn run(&mut self, batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        let outcome = self.check_and_run(batch);
        self.previous.clear();
        match &outcome {
            Ok(sampled) => self.previous.extend(sampled.rows.iter().map(last_token)),
            // Rows planned on top of a failed step may still come in; they must find a missing token, not a stale one.
            Err(_) => self.previous.resize(batch.rows.len(), None),
        }
        outcome
    }

    fn check_and_run(&mut self, batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        batch.check(&BatchLimits {
            max_num_batched_tokens: self.limits.max_num_batched_tokens,
            max_num_seqs: self.limits.max_num_seqs,
            vocab_size: self.model.spec().vocab_size as u32,
            max_model_len: self.limits.max_model_len,
            block_size: self.kv.block_size(),
            num_blocks: self.kv.num_blocks(),
            num_previous_rows: self.previous.len() as u32,
        })?;
        self.resolve(batch);
        let mut reader =
            LogitsReader::new((&self.resolved, &self.outputs), &mut self.sampler, &self.is_orphan);
        self.model.forward(&self.resolved, &mut self.kv, &mut |logits| reader.read(logits))?;
        Ok(reader.finish())
    }

    /// Copies the batch and puts known tokens where it names rows of the previous step.
    fn resolve(&mut self, batch: &ForwardBatch) {
        self.resolved.clone_from(batch);
        self.is_orphan.clear();
        for row in &batch.rows {
            let range = row.tokens.start as usize..row.tokens.end as usize;
            let mut is_orphan = false;
            for token in &mut self.resolved.tokens[range] {
                if let InputToken::Sampled { row } = *token {
                    let previous = self.previous[row as usize];
                    is_orphan |= previous.is_none();
                    // The row's result is thrown away then, so any token will do.
                    *token = InputToken::Known(previous.unwrap_or(TokenId(0)));
                }
            }
            self.is_orphan.push(is_orphan);
        }
        self.outputs.clear();
        self.outputs.extend(batch.outputs.iter().map(|token| match *token {
            InputToken::Known(token) => token,
            // If it is missing, its row is an orphan, for it is also the row's last input.
            InputToken::Sampled { row } => self.previous[row as usize].unwrap_or(TokenId(0)),
        }));
        // Should the model panic, then what continues this step must find missing tokens, not older ones.
        self.previous.clear();
        self.previous.resize(batch.rows.len(), None);
    }
}

fn last_token(row: &RowTokens) -> Option<TokenId> {
    row.as_ref().ok()?.sampled.last().map(|sampled| sampled.token)
}

#[cfg(test)]
mod tests;

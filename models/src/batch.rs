//! One forward pass as data: what goes into a model and what comes back.
//!
//! A batch is ragged: rows of one decoded token stand beside chunks of prompts. All tokens lie in one list, all block
//! tables in another, and each row names its ranges. Nothing here knows a scheduler or a device.
//!
//! # Invariants
//!
//! [`ForwardBatch::check`] states them; executors call it before they compute, so that a batch that is not well formed
//! is an error and never an access outside a buffer.
//!
//! In a request's path: `engine::batch` makes a [`ForwardBatch`], `ModelRunner` answers with [`SampledTokens`].

use std::ops::Range;
use std::sync::Arc;

use spillway_types::{
    BlockId, Penalties, Sampling, ScoredToken, Seed, SeqId, TokenBias, TokenId, TopLogprobs,
};

mod check;
#[cfg(test)]
mod tests;

pub use check::{BatchError, BatchLimits};

/// Everything a model needs to know about one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForwardBatch {
    /// The tokens to compute, row after row: `[tokens]`.
    pub tokens: Vec<InputToken>,
    /// The position of each token in its sequence: `[tokens]`.
    pub positions: Vec<u32>,
    /// The rows, in the order of their tokens.
    pub rows: Vec<BatchRow>,
    /// The block tables of all rows, concatenated.
    pub block_ids: Vec<BlockId>,
    /// The tokens that rows score, concatenated.
    pub targets: Vec<TokenId>,
    /// The tokens that sequences have generated, concatenated, of those whose rules look at them.
    pub outputs: Vec<InputToken>,
}

/// A token of a batch, known to the host or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputToken {
    /// A token whose id is known.
    Known(TokenId),
    /// The last token that row `row` of the previous step sampled.
    Sampled {
        /// Index into the rows of the previous step.
        row: u32,
    },
}

/// One sequence's part of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    /// The sequence, for messages and for executors that keep state by sequence.
    pub seq_id: SeqId,
    /// The row's range of [`ForwardBatch::tokens`]; never empty.
    pub tokens: Range<u32>,
    /// Tokens of the sequence whose keys and values are in the cache after this step.
    pub kv_len: u32,
    /// The row's range of [`ForwardBatch::block_ids`]: block `i` holds positions from `i * block_size`.
    pub blocks: Range<u32>,
    /// Tokens of the prompt whose probabilities are wanted; absent if none are.
    pub score: Option<RowScoring>,
    /// How to choose the token after the row's last one; absent for a chunk of a prompt that goes on.
    pub sample: Option<RowSampling>,
}

/// Which known tokens a row scores. The logits for them are those of the row's last tokens, but for the one that
/// samples: target `i` is the token that follows the `i`-th of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowScoring {
    /// The row's range of [`ForwardBatch::targets`]; never empty.
    pub targets: Range<u32>,
    /// How many of the most likely tokens to tell beside each.
    pub top: TopLogprobs,
}

impl BatchRow {
    /// How many of the row's last tokens need logits.
    pub fn num_logits(&self) -> u32 {
        let num_scored = self.score.as_ref().map_or(0, |score| score.targets.len() as u32);
        num_scored + u32::from(self.sample.is_some())
    }
}

/// How one row's next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSampling {
    /// Greedy or random, with its cuts.
    pub sampling: Sampling,
    /// Seed of the request.
    pub seed: Seed,
    /// Which of the request's `n` sequences this is.
    pub choice: u32,
    /// Position of the token to be sampled: the counter of the random numbers.
    pub position: u32,
    /// Whether the token is told with its ranking, and with how many others.
    pub logprobs: Option<TopLogprobs>,
    /// What is done to the logits first; nothing, if absent.
    pub rules: Option<Arc<LogitRules>>,
    /// The row's range of [`ForwardBatch::outputs`]: all that the sequence has generated, if its rules look at that.
    pub outputs: Range<u32>,
}

/// What is done to the logits of a sequence before a token is chosen. The same for all its tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogitRules {
    /// The only tokens that may come; any if absent.
    pub allowed: Option<Vec<TokenId>>,
    /// Tokens that must not come one after the other. Each has at least one.
    pub bad_words: Vec<Vec<TokenId>>,
    /// Tokens that would end the sequence.
    pub end_tokens: Arc<[TokenId]>,
    /// The first position where one of them may stand.
    pub first_end_position: u32,
    /// What is added to logits.
    pub bias: Vec<TokenBias>,
    /// What tokens lose that have come.
    pub penalties: Penalties,
    /// The prompt's tokens, if penalties look at them. Each one once.
    pub prompt_tokens: Vec<TokenId>,
}

impl LogitRules {
    /// Whether they change nothing.
    pub fn are_off(&self) -> bool {
        let ends_anywhere = self.end_tokens.is_empty() || self.first_end_position == 0;
        self.allowed.is_none() && self.bias.is_empty() && ends_anywhere && !self.look_at_outputs()
    }

    /// Whether they depend on what the sequence has generated.
    pub fn look_at_outputs(&self) -> bool {
        !self.penalties.are_off() || !self.bad_words.is_empty()
    }
}

/// What one step sampled: one entry per row of the batch, in the batch's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampledTokens {
    /// `rows[i]` belongs to row `i` of the batch.
    pub rows: Vec<RowTokens>,
}

/// The outcome of one row, or why that row alone failed.
pub type RowTokens = Result<RowOutput, RowError>;

/// What one row brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowOutput {
    /// The row's targets with their scores, in order.
    pub scored: Vec<ScoredToken>,
    /// The sampled tokens in order; none when the row does not sample.
    pub sampled: Vec<ScoredToken>,
}

/// Why one row of a step has no token although the step itself succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The model answered with something that is no distribution.
    #[error("the model's logits are not finite (first at token {token_id})")]
    LogitsNotFinite {
        /// The lowest token id whose logit is NaN or positive infinity, or 0 if every logit is negative infinity.
        token_id: u32,
    },
    /// The request's own rules exclude every token.
    #[error(
        "no token is left to choose from at position {position}: `allowed_token_ids`, `bad_words`, `min_tokens` and \
         `logit_bias` together exclude all; loosen them"
    )]
    NoTokenLeft {
        /// Position of the token that was to be sampled.
        position: u32,
    },
    /// The row continues a token that an earlier step failed to sample.
    #[error(
        "the token before position {position} was not sampled, since an earlier step of the sequence failed"
    )]
    PreviousTokenMissing {
        /// Position of the token that this step was to sample or compute.
        position: u32,
    },
}

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
    BlockId, BlockSize, Penalties, Sampling, ScoredToken, Seed, SeqId, TokenBias, TokenId, TopLogprobs,
};

#[cfg(test)]
mod tests;

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

/// The limits that a batch is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most tokens of one step.
    pub max_num_batched_tokens: u32,
    /// Most rows of one step.
    pub max_num_seqs: u32,
    /// Entries of the model's vocabulary.
    pub vocab_size: u32,
    /// Positions the model was built for.
    pub max_model_len: u32,
    /// Tokens one block holds.
    pub block_size: BlockSize,
    /// Blocks of the KV cache.
    pub num_blocks: u32,
    /// Rows of the previous step, to which [`InputToken::Sampled`] refers.
    pub num_previous_rows: u32,
}

/// What is wrong with a [`ForwardBatch`]: always a bug of whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Two lists that go together differ in length.
    #[error("batch has {positions} positions for {tokens} tokens")]
    Lengths {
        /// Number of tokens.
        tokens: usize,
        /// Number of positions.
        positions: usize,
    },
    /// More tokens, rows, positions or blocks than the executor was built for.
    #[error("batch names {value} {what}, limit {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The count found.
        value: u64,
        /// The most allowed.
        limit: u64,
    },
    /// The rows' token ranges do not cover the tokens one after the other.
    #[error("tokens of row {row} are {start}..{end}, expected a non-empty range from {expected}")]
    TokenRange {
        /// Index of the row.
        row: usize,
        /// Start found.
        start: u32,
        /// End found.
        end: u32,
        /// Start expected.
        expected: u32,
    },
    /// A row's positions do not rise by one, or do not end just below its KV length.
    #[error("row {row} has position {position} where {expected} was expected (kv_len {kv_len})")]
    Position {
        /// Index of the row.
        row: usize,
        /// Position found.
        position: u32,
        /// Position that fits the row's KV length.
        expected: i64,
        /// The row's KV length.
        kv_len: u32,
    },
    /// A row's block range lies outside the block list or is too short for its KV length.
    #[error("row {row} has blocks {start}..{end} of {num_block_ids}, needs {needed} for its KV length")]
    BlockRange {
        /// Index of the row.
        row: usize,
        /// Start of the range.
        start: u32,
        /// End of the range.
        end: u32,
        /// Length of the block list.
        num_block_ids: usize,
        /// Blocks that the row's KV length takes.
        needed: u32,
    },
    /// The range of what a row's sequence has generated lies outside the list.
    #[error("row {row} has outputs {start}..{end} of {num_outputs}")]
    OutputRange {
        /// Index of the row.
        row: usize,
        /// Start of the range.
        start: u32,
        /// End of the range.
        end: u32,
        /// Length of the list.
        num_outputs: usize,
    },
    /// A row's targets lie outside the list of targets, or there are more of them than tokens before them.
    #[error(
        "row {row} has targets {start}..{end} of {num_targets}, and {num_tokens} tokens to score them with"
    )]
    TargetRange {
        /// Index of the row.
        row: usize,
        /// Start of the range.
        start: u32,
        /// End of the range.
        end: u32,
        /// Length of the list of targets.
        num_targets: usize,
        /// Tokens of the row that may score, the one that samples left out.
        num_tokens: u32,
    },
}

impl ForwardBatch {
    /// Checks that every range, position and id is inside the limits.
    ///
    /// # Errors
    ///
    /// [`BatchError`] names the first thing that is wrong.
    pub fn check(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        if self.tokens.len() != self.positions.len() {
            return Err(BatchError::Lengths { tokens: self.tokens.len(), positions: self.positions.len() });
        }
        at_most("tokens", self.tokens.len() as u64, limits.max_num_batched_tokens)?;
        at_most("rows", self.rows.len() as u64, limits.max_num_seqs)?;
        let mut next_token = 0;
        for (row_idx, row) in self.rows.iter().enumerate() {
            let (start, end) = (row.tokens.start, row.tokens.end);
            if start != next_token || end <= start || end as usize > self.tokens.len() {
                return Err(BatchError::TokenRange { row: row_idx, start, end, expected: next_token });
            }
            self.check_row(row_idx, row, limits)?;
            next_token = end;
        }
        if next_token as usize != self.tokens.len() {
            let row = self.rows.len();
            return Err(BatchError::TokenRange {
                row,
                start: next_token,
                end: next_token,
                expected: next_token,
            });
        }
        self.check_tokens(limits)?;
        // Every listed block is checked, used or not, so that a kernel may read whole tables.
        for block in &self.block_ids {
            below("block", block.0, limits.num_blocks)?;
        }
        Ok(())
    }

    /// Checks one row whose token range is known to be inside the batch.
    fn check_row(&self, row_idx: usize, row: &BatchRow, limits: &BatchLimits) -> Result<(), BatchError> {
        at_most("positions of one sequence", u64::from(row.kv_len), limits.max_model_len)?;
        let range = row.tokens.start as usize..row.tokens.end as usize;
        let first = i64::from(row.kv_len) - range.len() as i64;
        for (offset, &position) in self.positions[range].iter().enumerate() {
            let expected = first + offset as i64;
            if i64::from(position) != expected {
                return Err(BatchError::Position { row: row_idx, position, expected, kv_len: row.kv_len });
            }
        }
        let (start, end) = (row.blocks.start, row.blocks.end);
        let needed = limits.block_size.blocks_for(row.kv_len);
        if end < start || end as usize > self.block_ids.len() || end - start < needed {
            return Err(BatchError::BlockRange {
                row: row_idx,
                start,
                end,
                num_block_ids: self.block_ids.len(),
                needed,
            });
        }
        if let Some(Range { start, end }) = row.sample.as_ref().map(|sample| sample.outputs.clone())
            && (start > end || end as usize > self.outputs.len())
        {
            let num_outputs = self.outputs.len();
            return Err(BatchError::OutputRange { row: row_idx, start, end, num_outputs });
        }
        self.check_targets(row_idx, row)
    }

    /// Checks what a row scores.
    fn check_targets(&self, row_idx: usize, row: &BatchRow) -> Result<(), BatchError> {
        let Some(RowScoring { targets, .. }) = &row.score else { return Ok(()) };
        let num_tokens = (row.tokens.end - row.tokens.start) - u32::from(row.sample.is_some());
        let is_inside = targets.start < targets.end && targets.end as usize <= self.targets.len();
        if is_inside && targets.end - targets.start <= num_tokens {
            return Ok(());
        }
        Err(BatchError::TargetRange {
            row: row_idx,
            start: targets.start,
            end: targets.end,
            num_targets: self.targets.len(),
            num_tokens,
        })
    }

    fn check_tokens(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        for target in &self.targets {
            below("target", target.0, limits.vocab_size)?;
        }
        for token in self.tokens.iter().chain(&self.outputs) {
            match *token {
                InputToken::Known(id) => below("token", id.0, limits.vocab_size)?,
                InputToken::Sampled { row } => below("previous row", row, limits.num_previous_rows)?,
            }
        }
        Ok(())
    }
}

fn at_most(what: &'static str, value: u64, limit: u32) -> Result<(), BatchError> {
    let limit = u64::from(limit);
    if value > limit { Err(BatchError::TooLarge { what, value, limit }) } else { Ok(()) }
}

fn below(what: &'static str, id: u32, end: u32) -> Result<(), BatchError> {
    if id < end {
        return Ok(());
    }
    // The limit of an index is the highest one allowed; with nothing allowed there is none, and 0 reads best.
    Err(BatchError::TooLarge { what, value: u64::from(id), limit: u64::from(end.saturating_sub(1)) })
}

//! The check of a batch before it is computed: every range, position and id is inside the limits.
//!
//! In a request's path: [`crate::ModelRunner`] asks it once a step, before anything is read.

use std::ops::Range;

use spillway_types::BlockSize;

use super::{BatchRow, ForwardBatch, InputToken, RowScoring};

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

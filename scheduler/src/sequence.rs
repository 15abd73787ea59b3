//! One sequence of tokens, waiting or running.
//!
//! A [`WaitingSequence`] holds no blocks; a [`RunningSequence`] owns a table of at least one.
//! [`WaitingSequence::admit`] and [`RunningSequence::preempt`] turn one into the other.
//!
//! # Positions
//!
//! - *known*: the prompt and every sampled token that has come back.
//! - *expected*: known, and those that a row in flight samples. `known <= expected <= max_len`.
//! - *computed*: positions whose keys and values are in the cache once all planned steps have run.
//! - *done*: positions that completed steps have computed. `done <= computed <= expected`.
//!
//! What a sequence needs of a step is `expected - computed`: a prompt's chunk, a decode's one token, and everything
//! again after a preemption, all by the same rule. Sampled tokens are told apart by position, so a token that comes
//! back after its sequence was preempted is kept once, and one that is known already is dropped.
//!
//! In a request's path: made by `submit`, gone when `complete` finds its end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use spillway_types::{BlockId, BlockSize, FinishReason, Priority, RequestId, SeqId, StepId, TokenId};

use crate::block_pool::{BlockPool, BlockTable};
use crate::prefix_cache::BlockChain;
use crate::{PrefixUse, ScheduledRow};

/// What a sequence is, whether it waits or runs.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) seq_id: SeqId,
    pub(crate) request_id: RequestId,
    pub(crate) choice: u32,
    pub(crate) priority: Priority,
    pub(crate) submitted: Duration,
    pub(crate) prompt_len: u32,
    /// Length at which it ends. Always above `prompt_len`.
    pub(crate) max_len: u32,
    pub(crate) end_tokens: Arc<[TokenId]>,
    /// Known tokens.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) expected_len: u32,
    pub(crate) chain: BlockChain,
    /// Whether it may begin with blocks of the prefix cache.
    pub(crate) prefix: PrefixUse,
    /// Tokens of the prompt that were cached when it came; by its turn they may be more or fewer.
    pub(crate) likely_cached: u32,
    /// Tokens that were cached at the first admission; absent before it.
    pub(crate) cached_tokens: Option<u32>,
    /// Rows planned for it in steps that are not completed.
    pub(crate) rows_in_flight: u32,
    /// Rows planned in an earlier epoch computed with a token that never came.
    pub(crate) epoch: u32,
    /// Whether siblings are parked until its prompt is done.
    pub(crate) has_parked_siblings: bool,
}

/// What a row's tokens did to their sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Which of the row's tokens are new.
    pub(crate) range: Range<usize>,
    /// Why the sequence is over.
    pub(crate) finish: Option<FinishReason>,
}

impl Sequence {
    /// Number of known tokens.
    pub(crate) fn known_len(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// Full blocks of the prompt that leave at least one token to compute.
    pub(crate) fn shareable_blocks(&self, block_size: BlockSize) -> u32 {
        (self.prompt_len - 1) / block_size.tokens()
    }

    /// Tokens that are likely to be computed once it is its turn.
    pub(crate) fn likely_uncached(&self) -> u32 {
        self.known_len().saturating_sub(self.likely_cached)
    }

    /// The first sequence of the request, if this is another.
    pub(crate) fn leader(&self) -> Option<SeqId> {
        (self.choice > 0).then(|| SeqId(self.seq_id.0 - u64::from(self.choice)))
    }

    /// Takes what a row of `epoch` brought. Nothing if the row computed with a token that never came.
    fn complete(&mut self, row: &ScheduledRow, epoch: u32, tokens: &[TokenId]) -> Option<Accepted> {
        self.rows_in_flight -= 1;
        (epoch == self.epoch).then(|| self.accept(row.end(), tokens))
    }

    /// Appends the tokens that were sampled for the positions from `position` on, but for those known already.
    fn accept(&mut self, position: u32, tokens: &[TokenId]) -> Accepted {
        let num_known = self.known_len().saturating_sub(position) as usize;
        let first = num_known.min(tokens.len());
        for (idx, &token) in tokens.iter().enumerate().skip(first) {
            self.tokens.push(token);
            let finish = self.finish_at(token);
            if finish.is_some() {
                return Accepted { range: first..idx + 1, finish };
            }
        }
        self.expected_len = self.expected_len.max(self.known_len());
        Accepted { range: first..tokens.len(), finish: None }
    }

    /// Gives up the tokens that rows in flight were to sample, because the one that they begin with did not come.
    fn forget_expected(&mut self) {
        self.expected_len = self.known_len();
        self.epoch += 1;
    }

    /// Why the sequence ends with `token`, its last.
    fn finish_at(&self, token: TokenId) -> Option<FinishReason> {
        if self.end_tokens.contains(&token) {
            Some(FinishReason::Stop)
        } else if self.known_len() == self.max_len {
            Some(FinishReason::Length)
        } else {
            None
        }
    }
}

/// A sequence without blocks.
#[derive(Debug)]
pub(crate) struct WaitingSequence {
    pub(crate) sequence: Box<Sequence>,
}

impl WaitingSequence {
    /// Whether nothing of it is in flight. A preempted sequence waits for its rows, so that no step computes twice
    /// what another one is about to bring.
    pub(crate) fn is_ready(&self) -> bool {
        self.sequence.rows_in_flight == 0
    }

    /// Takes what a row brought that was planned before the preemption.
    pub(crate) fn complete(
        &mut self,
        row: &ScheduledRow,
        epoch: u32,
        tokens: &[TokenId],
    ) -> Option<Accepted> {
        let accepted = self.sequence.complete(row, epoch, tokens)?;
        if row.samples && tokens.is_empty() {
            self.sequence.forget_expected();
        }
        Some(accepted)
    }

    /// Gives it blocks for all known tokens, the first `num_cached_blocks` of which are computed.
    pub(crate) fn admit(
        mut self,
        table: BlockTable,
        num_cached_blocks: u32,
        block_size: BlockSize,
    ) -> RunningSequence {
        let cached_len = num_cached_blocks * block_size.tokens();
        debug_assert_eq!(self.sequence.expected_len, self.sequence.known_len(), "nothing is in flight");
        debug_assert!(cached_len < self.sequence.known_len(), "at least one token is computed");
        self.sequence.cached_tokens.get_or_insert(cached_len);
        RunningSequence {
            sequence: self.sequence,
            table,
            computed: cached_len,
            done: cached_len,
            num_entered_blocks: num_cached_blocks,
            last_sampled: None,
        }
    }
}

/// A row of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRef {
    pub(crate) step: StepId,
    pub(crate) row: u32,
}

/// A sequence with blocks.
#[derive(Debug)]
pub(crate) struct RunningSequence {
    pub(crate) sequence: Box<Sequence>,
    pub(crate) table: BlockTable,
    pub(crate) computed: u32,
    pub(crate) done: u32,
    /// Blocks that were offered to the prefix cache.
    num_entered_blocks: u32,
    /// The row that samples position `expected - 1`, while that is unknown.
    last_sampled: Option<RowRef>,
}

impl RunningSequence {
    /// Positions to compute before the next token can be sampled. None if the last one is being sampled.
    pub(crate) fn needed(&self) -> u32 {
        if self.sequence.expected_len >= self.sequence.max_len {
            return 0;
        }
        self.sequence.expected_len - self.computed
    }

    /// Plans `num_tokens` more positions as row `this` of its step.
    pub(crate) fn plan(&mut self, num_tokens: u32, this: RowRef) -> ScheduledRow {
        debug_assert!(0 < num_tokens && num_tokens <= self.needed(), "a row computes what is needed");
        let start = self.computed;
        let end = start + num_tokens;
        let samples = end == self.sequence.expected_len;
        let last_is_unknown = end > self.sequence.known_len();
        // Who awaits a token needs exactly one, and a decode is never passed over: its row was in the step before.
        let sampled_by = self.last_sampled.filter(|_| last_is_unknown);
        debug_assert!(sampled_by.is_none_or(|at| at.step.0 + 1 == this.step.0), "the input is a step old");
        self.computed = end;
        self.sequence.rows_in_flight += 1;
        if samples {
            self.sequence.expected_len += 1;
            self.last_sampled = Some(this);
        }
        ScheduledRow {
            seq_id: self.sequence.seq_id,
            start,
            num_tokens,
            samples,
            sampled_by_row: sampled_by.map(|at| at.row),
        }
    }

    /// Takes what a row of `epoch` brought. Nothing if the row computed with a token that never came.
    pub(crate) fn complete(
        &mut self,
        row: &ScheduledRow,
        epoch: u32,
        tokens: &[TokenId],
    ) -> Option<Accepted> {
        let accepted = self.sequence.complete(row, epoch, tokens)?;
        self.done = row.end();
        if row.samples && tokens.is_empty() {
            self.sample_again(row);
        }
        Some(accepted)
    }

    /// Plans again what was to follow `row`, which brought no token: at least the last known position.
    fn sample_again(&mut self, row: &ScheduledRow) {
        self.sequence.forget_expected();
        self.computed = self.computed.min(row.end()).min(self.sequence.known_len() - 1);
        self.done = self.done.min(self.computed);
        self.last_sampled = None;
    }

    /// Offers the blocks that are full and done to the prefix cache.
    pub(crate) fn enter_blocks(&mut self, pool: &mut BlockPool, block_size: BlockSize) {
        let num_full = self.done / block_size.tokens();
        let Sequence { chain, tokens, .. } = &mut *self.sequence;
        for block_idx in self.num_entered_blocks..num_full {
            pool.enter(&self.table, block_idx as usize, chain, tokens);
        }
        self.num_entered_blocks = self.num_entered_blocks.max(num_full);
    }

    /// The full blocks of the prompt, once they are computed.
    pub(crate) fn prompt_blocks(&self, block_size: BlockSize) -> Option<&[BlockId]> {
        let num_blocks = self.sequence.shareable_blocks(block_size);
        let is_done = self.done >= num_blocks * block_size.tokens();
        is_done.then(|| &self.table.ids()[..num_blocks as usize])
    }

    /// Takes the blocks away; everything is computed again later.
    pub(crate) fn preempt(self) -> (WaitingSequence, BlockTable) {
        (WaitingSequence { sequence: self.sequence }, self.table)
    }
}

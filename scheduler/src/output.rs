//! What a step computes, what came of it, and what it means for each sequence.
//!
//! In a request's path: the engine makes a `ForwardBatch` of a [`SchedulerOutput`], launches it, and hands the sampled
//! tokens back as [`RowResult`]s; the [`SequenceUpdate`]s that it gets for them are published to the clients.

use std::ops::Range;

use smallvec::SmallVec;
use spillway_types::{FinishReason, RequestId, SeqId, StepId, TokenId};

/// One planned step. Steps must be launched in the order in which they were planned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchedulerOutput {
    /// Name of the step; [`complete`](crate::Scheduler::complete) or [`fail`](crate::Scheduler::fail) must follow.
    pub step: StepId,
    /// What to compute: running sequences in order of rank, then those admitted now. Never empty, and at most one row
    /// for a sequence.
    pub rows: Vec<ScheduledRow>,
    /// Sequences that began, or began again after a preemption, with this step. Each has a row.
    pub admitted: Vec<Admission>,
    /// Sequences that lost their blocks since the last planned step, youngest first.
    pub preempted: Vec<SeqId>,
    /// Sum of `num_tokens` over the rows.
    pub num_tokens: u32,
}

/// Compute positions `start..start + num_tokens` of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledRow {
    /// The sequence.
    pub seq_id: SeqId,
    /// First position to compute; all before it are in the KV cache when the step runs.
    pub start: u32,
    /// Positions to compute, at least one.
    pub num_tokens: u32,
    /// Whether the last position's logits are sampled, for position `start + num_tokens`.
    pub samples: bool,
    /// Set if the token at the last position is not yet known: it is sampled by this row of the step planned just
    /// before. All other tokens are in [`Scheduler::tokens`](crate::Scheduler::tokens).
    pub sampled_by_row: Option<u32>,
}

impl ScheduledRow {
    /// The positions to compute.
    pub fn positions(&self) -> Range<u32> {
        self.start..self.end()
    }

    /// The position after the last one: where a sampled token goes, and the length of the KV after the step.
    pub fn end(&self) -> u32 {
        self.start + self.num_tokens
    }
}

/// A sequence that took blocks and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The sequence.
    pub seq_id: SeqId,
    /// Its request.
    pub request_id: RequestId,
    /// Tokens whose keys and values were there already, from the prefix cache or a sibling.
    pub cached_tokens: u32,
    /// Whether it ran before and was preempted.
    pub resumed: bool,
}

/// What one row of a step brought: no token if it did not sample, else one or more in order.
///
/// A sampling row that brings no token is planned again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowResult {
    /// Tokens for the positions from [`ScheduledRow::end`] on.
    pub tokens: SmallVec<[TokenId; 4]>,
}

impl RowResult {
    /// The result of a row that samples one token.
    pub fn one(token: TokenId) -> Self {
        Self { tokens: SmallVec::from_slice(&[token]) }
    }
}

impl FromIterator<TokenId> for RowResult {
    fn from_iter<I: IntoIterator<Item = TokenId>>(tokens: I) -> Self {
        Self { tokens: tokens.into_iter().collect() }
    }
}

/// What a completed step means for one sequence: new tokens, an end, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceUpdate {
    /// The sequence.
    pub seq_id: SeqId,
    /// Its request.
    pub request_id: RequestId,
    /// Index of the choice within the request, from 0 to `n - 1`.
    pub choice: u32,
    /// Index of its row in the completed step.
    pub row: u32,
    /// Which of the row's tokens were appended to the sequence. An end token is among them; tokens after it are not.
    pub accepted: Range<usize>,
    /// Why the sequence ended; the scheduler has forgotten it then.
    pub finish: Option<FinishReason>,
    /// Prompt tokens that were cached when the sequence was first admitted.
    pub cached_tokens: u32,
}

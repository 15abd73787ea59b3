//! What the scheduler refuses, and what it finds broken when it checks itself.

use spillway_types::{BlockId, RequestId, SeqId};

/// Values of a [`SchedulerConfig`](crate::SchedulerConfig) that do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Each decoding sequence needs a token of every step.
    #[error(
        "max_num_batched_tokens is {max_num_batched_tokens}, must be at least max_num_seqs ({max_num_seqs}); \
         raise the one or lower the other"
    )]
    StepTooSmall {
        /// The step's token budget.
        max_num_batched_tokens: u32,
        /// The most sequences at once.
        max_num_seqs: u32,
    },
    /// Classes would rise without end.
    #[error("ageing_interval is 0 s, must be longer")]
    AgeingIntervalZero,
}

/// Why a request was not taken. Nothing has changed when one is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is nothing to go on from.
    #[error("prompt is empty, must have at least one token")]
    PromptEmpty,
    /// The prompt leaves no room for an answer; the client must shorten it.
    #[error("prompt has {prompt_tokens} tokens, limit {max_tokens}; shorten it")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Most tokens of a prompt: one less than the context, so that one token can follow.
        max_tokens: u32,
    },
    /// The prompt is longer than the whole KV cache; the client must shorten it, or the operator give more memory.
    #[error(
        "prompt needs {needed_blocks} blocks of KV cache, limit {num_blocks}; shorten it or enlarge the cache"
    )]
    NeverFits {
        /// Blocks that the prompt fills.
        needed_blocks: u32,
        /// Blocks of the pool.
        num_blocks: u32,
    },
    /// As many requests wait as may; the client may come again.
    #[error("queue is full ({waiting} waiting, limit {max_waiting}), try again later")]
    QueueFull {
        /// Requests that wait.
        waiting: u32,
        /// Most requests that may.
        max_waiting: u32,
    },
    /// A request of this id is being served.
    #[error("request {request_id} is already being served, ids must be unique")]
    DuplicateRequest {
        /// The id.
        request_id: RequestId,
    },
}

/// A broken invariant: a defect of this crate, found by [`Scheduler::check`](crate::Scheduler::check).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvariantError {
    /// Blocks were lost or lent twice.
    #[error("{free} free and {held} held blocks, capacity {capacity}")]
    BlockCount {
        /// Blocks on the free list.
        free: u32,
        /// Blocks with references.
        held: u32,
        /// Blocks of the pool.
        capacity: u32,
    },
    /// A block's references are not those of the tables that name it.
    #[error("block {block} is in {tables} tables, but counts {references} references")]
    References {
        /// The block.
        block: BlockId,
        /// Tables of running sequences that name it.
        tables: u32,
        /// References that the pool counts.
        references: u32,
    },
    /// The list of free blocks does not agree with the counts.
    #[error("the free list is broken at block {block}")]
    FreeList {
        /// The block.
        block: BlockId,
    },
    /// The prefix cache names a block that does not hold what it says.
    #[error("the prefix cache is wrong about block {block}")]
    PrefixCache {
        /// The block.
        block: BlockId,
    },
    /// The bookkeeping of one sequence contradicts itself.
    #[error("sequence {seq_id}: {what}")]
    Sequence {
        /// The sequence.
        seq_id: SeqId,
        /// What is wrong.
        what: &'static str,
    },
    /// The bookkeeping of one request contradicts its sequences.
    #[error("request {request_id}: {what}")]
    Request {
        /// The request.
        request_id: RequestId,
        /// What is wrong.
        what: &'static str,
    },
}

//! Counts for metrics, as of one moment.

/// What the scheduler holds now, and what it has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedulerStats {
    /// Sequences that hold blocks.
    pub num_running: u32,
    /// Sequences that hold none: never begun, preempted, or waiting for a sibling's prompt.
    pub num_waiting: u32,
    /// Requests with at least one waiting sequence: what `max_waiting` limits.
    pub num_waiting_requests: u32,
    /// Steps that are planned and not completed.
    pub num_in_flight_steps: u32,
    /// Blocks of the pool.
    pub num_blocks: u32,
    /// Blocks that sequences hold. Cached blocks that nobody holds are free.
    pub used_blocks: u32,
    /// Blocks that can be found by their content, held or free.
    pub cached_blocks: u32,
    /// Steps planned since the start.
    pub num_steps: u64,
    /// Preemptions since the start.
    pub num_preemptions: u64,
    /// Tokens of sequences that looked for a cached prefix, at their first admission.
    pub prefix_query_tokens: u64,
    /// Of these, tokens that were found.
    pub prefix_hit_tokens: u64,
}

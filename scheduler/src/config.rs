//! How much one engine may hold and plan, and the limits that follow from it.
//!
//! Not here: defaults and flags. They belong to the server, which builds a [`SchedulerConfig`] from them.

use std::num::NonZeroU32;
use std::time::Duration;

use spillway_types::BlockSize;

use crate::ConfigError;

/// How much one engine may hold. Fixed at start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Tokens that one KV block holds.
    pub block_size: BlockSize,
    /// Blocks of the KV cache. A sequence that fills all of them ends with
    /// [`FinishReason::Length`](spillway_types::FinishReason::Length), however large `max_model_len` is.
    pub num_blocks: NonZeroU32,
    /// Most tokens in one forward pass, prefill and decode together. Larger favours throughput,
    /// smaller favours the time between tokens.
    pub max_num_batched_tokens: NonZeroU32,
    /// Most sequences running at once. Never more than `max_num_batched_tokens`, since each
    /// decoding sequence takes at least one token of every pass.
    pub max_num_seqs: NonZeroU32,
    /// Most requests with a waiting sequence. Beyond it, `submit` answers `QueueFull` rather than keep a client.
    pub max_waiting: NonZeroU32,
    /// Most tokens of one sequence, prompt and output together.
    pub max_model_len: NonZeroU32,
    /// Most steps that are planned and not completed: 1 plans after each result, 2 plans one step ahead.
    pub max_in_flight_steps: NonZeroU32,
    /// Whether computed blocks are found again by later prompts. Siblings of one request share its prompt either way.
    pub prefix_caching: bool,
    /// A request rises one priority class each time this much time has passed since it was submitted.
    pub ageing_interval: Duration,
    /// Most tokens of one sequence in one pass, so that a long prompt does not hold up shorter ones; no limit if absent.
    pub long_prefill_threshold: Option<NonZeroU32>,
}

impl SchedulerConfig {
    /// Tells whether the values fit together.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the values that do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ConfigError::StepTooSmall {
                max_num_batched_tokens: self.max_num_batched_tokens.get(),
                max_num_seqs: self.max_num_seqs.get(),
            });
        }
        if self.ageing_interval.is_zero() {
            return Err(ConfigError::AgeingIntervalZero);
        }
        Ok(())
    }

    /// Most tokens of a sequence, known or sampled last, that this pool can bring forth.
    ///
    /// The last token of a sequence is never computed, so it needs no room in a block.
    pub(crate) fn max_sequence_len(&self) -> u32 {
        let pool_tokens = self.num_blocks.get().saturating_mul(self.block_size.tokens());
        self.max_model_len.get().min(pool_tokens.saturating_add(1))
    }

    /// Most tokens that one sequence may take of one step.
    pub(crate) fn max_chunk(&self) -> u32 {
        self.long_prefill_threshold.map_or(u32::MAX, NonZeroU32::get)
    }
}

//! What one engine may hold and how it runs.

use std::time::Duration;

use spillway_scheduler::SchedulerConfig;

/// Fixed at start-up; every value has been checked.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Limits of the scheduler, the number of steps in flight among them.
    pub scheduler: SchedulerConfig,
    /// The type of keys and values in the cache, for a metric's label.
    pub cache_dtype: String,
    /// A step that takes longer than this makes the engine unhealthy.
    pub step_overdue_after: Duration,
    /// Longest time that the prompts in line may take to compute, by the measured rate, before further ones are refused.
    pub max_queue_ttft: Option<Duration>,
}

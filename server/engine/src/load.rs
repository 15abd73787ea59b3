//! How busy the engine is, readable by anyone at any time without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A snapshot of the engine's load. Its fields are read one by one, so they may be a step apart.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EngineLoad {
    /// Sequences that hold KV blocks.
    pub num_running: u32,
    /// Sequences that wait for room.
    pub num_waiting: u32,
    /// Blocks of the KV cache.
    pub num_blocks: u32,
    /// Blocks that no sequence holds; some still cache a prefix.
    pub num_free_blocks: u32,
    /// Steps completed since start.
    pub num_steps: u64,
    /// Sequences preempted since start.
    pub num_preemptions: u64,
    /// Prompt tokens looked up in the prefix cache since start.
    pub prefix_queries: u64,
    /// Prompt tokens found there since start.
    pub prefix_hits: u64,
    /// Requests that ended, per second, over the last minute or so.
    pub requests_per_second: f64,
    /// Prompt tokens that wait to be computed, less what the prefix cache is likely to save.
    pub num_queued_prompt_tokens: u64,
    /// Prompt tokens computed per second while more of them waited; unknown before any had to.
    pub prefill_tokens_per_second: Option<f64>,
    /// Tokens generated per second of computing, all sequences together; unknown before there was one.
    pub decode_tokens_per_second: Option<f64>,
}

impl EngineLoad {
    /// Share of the KV cache that sequences hold, from 0 to 1.
    pub fn kv_cache_usage(&self) -> f64 {
        if self.num_blocks == 0 {
            return 0.0;
        }
        f64::from(self.num_blocks - self.num_free_blocks.min(self.num_blocks)) / f64::from(self.num_blocks)
    }

    /// When a place in a full queue is likely to be free: from 1 to 60 seconds.
    pub fn retry_after(&self) -> Duration {
        if self.requests_per_second <= 0.0 {
            return Duration::from_secs(1);
        }
        Duration::from_secs_f64((1.0 / self.requests_per_second).ceil().clamp(1.0, 60.0))
    }
}

/// Whether the engine can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineHealth {
    /// It serves.
    Ready,
    /// A step takes longer than it may.
    Overdue {
        /// For how long it has run.
        since: Duration,
    },
    /// It takes no more requests and finishes those it has.
    Draining,
    /// Its device broke, so it has ended or is about to.
    DeviceBroken,
    /// Its thread has ended.
    Stopped,
}

/// The cells behind [`EngineLoad`] and [`EngineHealth`]. Written by the engine thread only.
#[derive(Debug, Default)]
pub(crate) struct LoadCells {
    num_running: AtomicU32,
    num_waiting: AtomicU32,
    num_blocks: AtomicU32,
    num_free_blocks: AtomicU32,
    num_steps: AtomicU64,
    num_preemptions: AtomicU64,
    prefix_queries: AtomicU64,
    prefix_hits: AtomicU64,
    requests_per_second: AtomicU64,
    num_queued_prompt_tokens: AtomicU64,
    prefill_tokens_per_second: AtomicU64,
    decode_tokens_per_second: AtomicU64,
    /// Microseconds on the engine's clock plus one at which its turn began; 0 while it waits for work.
    turn_began: AtomicU64,
    draining: AtomicBool,
    device_broken: AtomicBool,
    stopped: AtomicBool,
}

impl LoadCells {
    pub(crate) fn store(&self, load: &EngineLoad) {
        self.num_running.store(load.num_running, Relaxed);
        self.num_waiting.store(load.num_waiting, Relaxed);
        self.num_blocks.store(load.num_blocks, Relaxed);
        self.num_free_blocks.store(load.num_free_blocks, Relaxed);
        self.num_steps.store(load.num_steps, Relaxed);
        self.num_preemptions.store(load.num_preemptions, Relaxed);
        self.prefix_queries.store(load.prefix_queries, Relaxed);
        self.prefix_hits.store(load.prefix_hits, Relaxed);
        self.requests_per_second.store(load.requests_per_second.to_bits(), Relaxed);
        self.num_queued_prompt_tokens.store(load.num_queued_prompt_tokens, Relaxed);
        self.prefill_tokens_per_second.store(rate_bits(load.prefill_tokens_per_second), Relaxed);
        self.decode_tokens_per_second.store(rate_bits(load.decode_tokens_per_second), Relaxed);
    }

    pub(crate) fn load(&self) -> EngineLoad {
        EngineLoad {
            num_running: self.num_running.load(Relaxed),
            num_waiting: self.num_waiting.load(Relaxed),
            num_blocks: self.num_blocks.load(Relaxed),
            num_free_blocks: self.num_free_blocks.load(Relaxed),
            num_steps: self.num_steps.load(Relaxed),
            num_preemptions: self.num_preemptions.load(Relaxed),
            prefix_queries: self.prefix_queries.load(Relaxed),
            prefix_hits: self.prefix_hits.load(Relaxed),
            requests_per_second: f64::from_bits(self.requests_per_second.load(Relaxed)),
            num_queued_prompt_tokens: self.num_queued_prompt_tokens.load(Relaxed),
            prefill_tokens_per_second: rate(self.prefill_tokens_per_second.load(Relaxed)),
            decode_tokens_per_second: rate(self.decode_tokens_per_second.load(Relaxed)),
        }
    }

    /// Notes when the engine's turn began; none while it waits for work. A turn completes at most one step.
    pub(crate) fn set_turn_began(&self, began: Option<Duration>) {
        let cell = began.map_or(0, |at| at.as_micros() as u64 + 1);
        self.turn_began.store(cell, Relaxed);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn set_device_broken(&self) {
        self.device_broken.store(true, Relaxed);
    }

    pub(crate) fn set_stopped(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    pub(crate) fn health(&self, now: Duration, overdue_after: Duration) -> EngineHealth {
        if self.device_broken.load(Relaxed) {
            return EngineHealth::DeviceBroken;
        }
        if self.is_stopped() {
            return EngineHealth::Stopped;
        }
        if let Some(began_us) = self.turn_began.load(Relaxed).checked_sub(1) {
            let since = now.saturating_sub(Duration::from_micros(began_us));
            if since > overdue_after {
                return EngineHealth::Overdue { since };
            }
        }
        if self.is_draining() { EngineHealth::Draining } else { EngineHealth::Ready }
    }
}

/// A rate in a cell. An unknown one is zero there, which no known one is.
fn rate_bits(rate: Option<f64>) -> u64 {
    rate.unwrap_or(0.0).to_bits()
}

fn rate(bits: u64) -> Option<f64> {
    Some(f64::from_bits(bits)).filter(|&rate| rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_the_held_share_of_blocks() {
        let load = EngineLoad { num_blocks: 8, num_free_blocks: 6, ..EngineLoad::default() };
        assert!((load.kv_cache_usage() - 0.25).abs() < 1e-12);
        assert!(EngineLoad::default().kv_cache_usage().abs() < 1e-12);
    }

    #[test]
    fn health_tells_an_overdue_step_from_a_running_one() {
        let cells = LoadCells::default();
        let limit = Duration::from_secs(10);
        cells.set_turn_began(Some(Duration::ZERO));
        assert_eq!(cells.health(Duration::from_secs(9), limit), EngineHealth::Ready);
        assert_eq!(
            cells.health(Duration::from_secs(11), limit),
            EngineHealth::Overdue { since: Duration::from_secs(11) }
        );
        cells.set_turn_began(None);
        assert_eq!(cells.health(Duration::from_secs(11), limit), EngineHealth::Ready);
        cells.set_draining();
        assert_eq!(cells.health(Duration::ZERO, limit), EngineHealth::Draining);
        cells.set_stopped();
        assert_eq!(cells.health(Duration::ZERO, limit), EngineHealth::Stopped);
        cells.set_device_broken();
        assert_eq!(cells.health(Duration::ZERO, limit), EngineHealth::DeviceBroken);
    }
}

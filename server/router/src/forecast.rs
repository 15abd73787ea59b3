//! How long a request would wait for its first token here, from the engine's own state.
//!
//! The prompt tokens before it, and its own that no cache holds, are computed at the measured rate. Where every place is
//! taken, it waits for one first. What was never measured is not guessed.

use std::time::Duration;

use crate::{BackendLoad, EngineState};

/// What is expected of a request at one backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Time to its first token, if enough is known.
    pub ttft: Option<Duration>,
    /// Whether the KV cache has no room for its prompt, so that another sequence would have to give way, or it waits.
    pub needs_preemption: bool,
}

/// The longest time that is forecast: beyond it, a rate was measured on too little.
const MAX_FORECAST: Duration = Duration::from_hours(1);

impl Forecast {
    /// Of a request with `prompt_tokens` tokens, `warm_tokens` of which are likely in the prefix cache, behind others with
    /// `waiting_tokens`: those that were sent there and are not answered, whether the engine has seen them yet or not.
    pub(crate) fn of(load: &BackendLoad, prompt_tokens: u32, warm_tokens: u32, waiting_tokens: u64) -> Self {
        let Some(engine) = &load.engine else { return Self { ttft: None, needs_preemption: false } };
        let own = uncached(engine, prompt_tokens, warm_tokens);
        let compute = engine.prefill_tokens_per_second.filter(|rate| *rate > 0.0).map(|rate| {
            let before = engine.queued_prompt_tokens.max(cold(engine, waiting_tokens));
            let tokens = before as f64 + own;
            tokens / rate
        });
        let place = if load.num_running >= engine.max_num_seqs && engine.requests_per_second > 0.0 {
            f64::from(load.num_waiting + 1) / engine.requests_per_second
        } else {
            0.0
        };
        let ttft = compute.map(|compute| seconds(compute.max(place)));
        let num_blocks = (own / f64::from(engine.block_tokens.max(1))).ceil();
        Self { ttft, needs_preemption: num_blocks > f64::from(engine.num_free_blocks) }
    }
}

/// Of tokens that wait, as many as usually are in no cache.
fn cold(engine: &EngineState, tokens: u64) -> u64 {
    (tokens as f64 * (1.0 - engine.prefix_hit_rate.clamp(0.0, 1.0))) as u64
}

/// Tokens of a prompt that must be computed: a warm session's new ones, else as many as usual.
fn uncached(engine: &EngineState, prompt_tokens: u32, warm_tokens: u32) -> f64 {
    if warm_tokens > 0 {
        return f64::from(prompt_tokens.saturating_sub(warm_tokens).max(1));
    }
    f64::from(prompt_tokens) * (1.0 - engine.prefix_hit_rate.clamp(0.0, 1.0))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(MAX_FORECAST, |time| time.min(MAX_FORECAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> EngineState {
        EngineState {
            queued_prompt_tokens: 900,
            prefill_tokens_per_second: Some(1000.0),
            decode_tokens_per_second: Some(100.0),
            requests_per_second: 2.0,
            prefix_hit_rate: 0.5,
            block_tokens: 16,
            num_blocks: 100,
            num_free_blocks: 10,
            max_num_seqs: 4,
        }
    }

    fn forecast(engine: EngineState, num_running: u32, prompt_tokens: u32, warm_tokens: u32) -> Forecast {
        let load = BackendLoad { num_running, num_waiting: 5, kv_cache_usage: None, engine: Some(engine) };
        Forecast::of(&load, prompt_tokens, warm_tokens, 0)
    }

    #[test]
    fn the_queue_and_the_uncached_part_are_computed_at_the_measured_rate() {
        assert_eq!(forecast(engine(), 0, 200, 0).ttft, Some(Duration::from_secs(1)));
        // Of a warm session only what is new.
        assert_eq!(forecast(engine(), 0, 200, 100).ttft, Some(Duration::from_secs(1)));
        assert_eq!(forecast(engine(), 0, 200, 150).ttft, Some(Duration::from_millis(950)));
    }

    #[test]
    fn what_was_sent_and_not_seen_by_the_engine_yet_counts_once() {
        let load =
            BackendLoad { num_running: 0, num_waiting: 0, kv_cache_usage: None, engine: Some(engine()) };
        let ttft = |waiting| Forecast::of(&load, 200, 0, waiting).ttft;
        assert_eq!(
            ttft(1000),
            Some(Duration::from_secs(1)),
            "half of them are cached, and the queue has more"
        );
        assert_eq!(ttft(3800), Some(Duration::from_secs(2)));
    }

    #[test]
    fn where_all_places_are_taken_it_waits_for_one() {
        assert_eq!(forecast(engine(), 4, 200, 0).ttft, Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_was_not_measured_is_not_guessed() {
        let unmeasured = EngineState { prefill_tokens_per_second: None, ..engine() };
        assert_eq!(forecast(unmeasured, 4, 200, 0).ttft, None);
    }

    #[test]
    fn a_prompt_without_room_needs_another_to_give_way() {
        // Half of 320 tokens are ten blocks.
        assert!(!forecast(engine(), 0, 320, 0).needs_preemption);
        assert!(forecast(engine(), 0, 322, 0).needs_preemption);
    }
}

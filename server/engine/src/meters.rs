//! The engine's metrics, under vLLM's names, so that existing dashboards and autoscalers read them.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use spillway_types::{FinishReason, ModelId};

use crate::load::EngineLoad;

/// Handles made once; recording through them takes no lock and no look-up.
pub(crate) struct Meters {
    running: Gauge,
    waiting: Gauge,
    kv_cache_usage: Gauge,
    queued_prompt_tokens: Gauge,
    prefill_rate: Gauge,
    decode_rate: Gauge,
    prefix_queries: Counter,
    prefix_hits: Counter,
    preemptions: Counter,
    prompt_tokens: Counter,
    prompt_tokens_cached: Counter,
    generation_tokens: Counter,
    iteration_tokens: Histogram,
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    e2e_latency: Histogram,
    queue_time: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    finished: [Counter; 4],
}

/// What the KV cache is, for the metric that tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheInfo<'a> {
    pub(crate) block_size: u32,
    pub(crate) num_blocks: u32,
    pub(crate) dtype: &'a str,
}

const REASONS: [FinishReason; 4] =
    [FinishReason::Stop, FinishReason::Length, FinishReason::Aborted, FinishReason::Failed];

impl Meters {
    /// Registers every metric, so that all of them show from the start.
    pub(crate) fn new(model: &ModelId, cache: CacheInfo<'_>) -> Self {
        let labels = [("model_name", model.as_str().to_owned()), ("engine", "0".to_owned())];
        let info = [
            ("model_name", model.as_str().to_owned()),
            ("engine", "0".to_owned()),
            ("block_size", cache.block_size.to_string()),
            ("num_gpu_blocks", cache.num_blocks.to_string()),
            ("cache_dtype", cache.dtype.to_owned()),
        ];
        gauge!("vllm:cache_config_info", &info).set(1.0);
        Self {
            running: gauge!("vllm:num_requests_running", &labels),
            waiting: gauge!("vllm:num_requests_waiting", &labels),
            kv_cache_usage: gauge!("vllm:kv_cache_usage_perc", &labels),
            queued_prompt_tokens: gauge!("spillway_queued_prompt_tokens", &labels),
            prefill_rate: gauge!("spillway_prefill_tokens_per_second", &labels),
            decode_rate: gauge!("spillway_decode_tokens_per_second", &labels),
            prefix_queries: counter!("vllm:prefix_cache_queries_total", &labels),
            prefix_hits: counter!("vllm:prefix_cache_hits_total", &labels),
            preemptions: counter!("vllm:num_preemptions_total", &labels),
            prompt_tokens: counter!("vllm:prompt_tokens_total", &labels),
            prompt_tokens_cached: counter!("vllm:prompt_tokens_cached_total", &labels),
            generation_tokens: counter!("vllm:generation_tokens_total", &labels),
            iteration_tokens: histogram!("vllm:iteration_tokens_total", &labels),
            time_to_first_token: histogram!("vllm:time_to_first_token_seconds", &labels),
            inter_token_latency: histogram!("vllm:inter_token_latency_seconds", &labels),
            e2e_latency: histogram!("vllm:e2e_request_latency_seconds", &labels),
            queue_time: histogram!("vllm:request_queue_time_seconds", &labels),
            request_prompt_tokens: histogram!("vllm:request_prompt_tokens", &labels),
            request_generation_tokens: histogram!("vllm:request_generation_tokens", &labels),
            finished: REASONS.map(|reason| {
                let [model_name, engine] = labels.clone();
                let labels = [model_name, engine, ("finished_reason", reason.as_str().to_owned())];
                counter!("vllm:request_success_total", &labels)
            }),
        }
    }

    /// Shows the load after a step.
    pub(crate) fn load(&self, load: &EngineLoad) {
        self.running.set(f64::from(load.num_running));
        self.waiting.set(f64::from(load.num_waiting));
        self.kv_cache_usage.set(load.kv_cache_usage());
        self.queued_prompt_tokens.set(load.num_queued_prompt_tokens as f64);
        // Prometheus' word for what is not known.
        self.prefill_rate.set(load.prefill_tokens_per_second.unwrap_or(f64::NAN));
        self.decode_rate.set(load.decode_tokens_per_second.unwrap_or(f64::NAN));
        self.prefix_queries.absolute(load.prefix_queries);
        self.prefix_hits.absolute(load.prefix_hits);
        self.preemptions.absolute(load.num_preemptions);
    }

    /// One step was launched with this many tokens.
    pub(crate) fn step(&self, num_tokens: usize) {
        self.iteration_tokens.record(num_tokens as f64);
    }

    /// A sequence left the waiting queue for the first time.
    pub(crate) fn admitted(&self, prompt_tokens: u32, cached_tokens: u32, waited: Duration) {
        self.prompt_tokens.increment(u64::from(prompt_tokens));
        self.prompt_tokens_cached.increment(u64::from(cached_tokens));
        self.queue_time.record(waited);
    }

    /// A sequence's first tokens came.
    pub(crate) fn first_tokens(&self, num_tokens: usize, since_arrival: Duration) {
        self.generation_tokens.increment(num_tokens as u64);
        self.time_to_first_token.record(since_arrival);
    }

    /// More tokens of a sequence came.
    pub(crate) fn more_tokens(&self, num_tokens: usize, since_last: Duration) {
        self.generation_tokens.increment(num_tokens as u64);
        let each = since_last.as_secs_f64() / num_tokens.max(1) as f64;
        for _ in 0..num_tokens {
            self.inter_token_latency.record(each);
        }
    }

    /// A sequence ended.
    pub(crate) fn finished(&self, reason: FinishReason, prompt_tokens: u32, generated: u32, e2e: Duration) {
        self.finished[place(reason)].increment(1);
        self.e2e_latency.record(e2e);
        self.request_prompt_tokens.record(f64::from(prompt_tokens));
        self.request_generation_tokens.record(f64::from(generated));
    }
}

/// Where a reason stands among [`REASONS`]. An engine knows neither calls nor filters: to it such an end is a stop.
fn place(reason: FinishReason) -> usize {
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::ContentFilter => 0,
        FinishReason::Length => 1,
        FinishReason::Aborted => 2,
        FinishReason::Failed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_word() {
        for reason in REASONS {
            assert_eq!(REASONS[place(reason)], reason);
        }
        for reason in [FinishReason::ToolCalls, FinishReason::ContentFilter] {
            assert_eq!(REASONS[place(reason)], FinishReason::Stop);
        }
    }
}

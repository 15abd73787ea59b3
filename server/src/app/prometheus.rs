//! The recorder behind `/metrics`: which histograms have which buckets.
//!
//! Bounds are vLLM's, so that dashboards made for it show the same resolution.

use anyhow::Context;
use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper bounds of histograms, by full name.
const BUCKETS: [(&str, &[f64]); 7] = [
    ("vllm:time_to_first_token_seconds", TIME_TO_FIRST_TOKEN),
    ("vllm:inter_token_latency_seconds", INTER_TOKEN_LATENCY),
    ("vllm:e2e_request_latency_seconds", REQUEST_LATENCY),
    ("vllm:request_queue_time_seconds", REQUEST_LATENCY),
    ("vllm:request_prompt_tokens", REQUEST_TOKENS),
    ("vllm:request_generation_tokens", REQUEST_TOKENS),
    ("vllm:iteration_tokens_total", STEP_TOKENS),
];

const TIME_TO_FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const INTER_TOKEN_LATENCY: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST_LATENCY: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];
const REQUEST_TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0,
    50_000.0, 100_000.0,
];
const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];

/// Starts recording. Called once, before anything registers a metric.
pub(crate) fn start() -> anyhow::Result<PrometheusHandle> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics are already being recorded")?;
    describe_counter!("spillway_http_requests_total", "Requests that were answered, by path and status.");
    describe_gauge!("spillway_http_requests_in_flight", "Requests whose answer is not complete.");
    Ok(handle)
}

fn recorder() -> anyhow::Result<PrometheusRecorder> {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
    }
    Ok(builder.build_recorder())
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn names_come_out_as_vllm_writes_them() {
        let recorder = recorder().expect("the bounds are valid");
        with_local_recorder(&recorder, || {
            counter!("vllm:prompt_tokens_total", "model_name" => "tiny").increment(3);
            histogram!("vllm:time_to_first_token_seconds", "model_name" => "tiny").record(0.03);
        });
        let text = recorder.handle().render();
        for line in [
            "# TYPE vllm:prompt_tokens_total counter",
            "vllm:prompt_tokens_total{model_name=\"tiny\"} 3",
            "# TYPE vllm:time_to_first_token_seconds histogram",
            "vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",le=\"0.02\"} 0",
            "vllm:time_to_first_token_seconds_bucket{model_name=\"tiny\",le=\"0.04\"} 1",
            "vllm:time_to_first_token_seconds_count{model_name=\"tiny\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn bounds_rise() {
        for (name, bounds) in BUCKETS {
            assert!(bounds.is_sorted_by(|left, right| left < right), "{name}");
        }
    }
}

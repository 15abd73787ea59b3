//! How busy a server is, out of its metrics: vLLM's names, which Spillway has, too, and llama.cpp's.
//!
//! Source: the text format of Prometheus.

/// What is read of them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Gauges {
    /// All engines and models of the server together.
    pub(super) num_running: u32,
    pub(super) num_waiting: u32,
    /// Of the fullest engine.
    pub(super) kv_cache_usage: Option<f64>,
}

impl Gauges {
    /// Reads them from a page of metrics; nothing if it tells neither who runs nor who waits.
    pub(super) fn read(page: &[u8]) -> Option<Self> {
        let mut gauges = Self::default();
        let mut is_told = false;
        for line in page.split(|byte| *byte == b'\n') {
            // Most lines are of other metrics.
            if !line.starts_with(b"vllm:") && !line.starts_with(b"llamacpp:") {
                continue;
            }
            let Some((name, value)) = std::str::from_utf8(line).ok().and_then(sample) else { continue };
            match name {
                "vllm:num_requests_running" | "llamacpp:requests_processing" => {
                    gauges.num_running = gauges.num_running.saturating_add(value as u32);
                    is_told = true;
                }
                "vllm:num_requests_waiting" | "llamacpp:requests_deferred" => {
                    gauges.num_waiting = gauges.num_waiting.saturating_add(value as u32);
                    is_told = true;
                }
                "vllm:kv_cache_usage_perc"
                | "vllm:gpu_cache_usage_perc"
                | "llamacpp:kv_cache_usage_ratio" => {
                    let fullest = gauges.kv_cache_usage.unwrap_or(0.0).max(value);
                    gauges.kv_cache_usage = Some(fullest.min(1.0));
                }
                _ => {}
            }
        }
        is_told.then_some(gauges)
    }
}

/// The name and the value of a line, which may have labels before the value and a time after it.
fn sample(line: &str) -> Option<(&str, f64)> {
    let name_len = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_len);
    let values = match rest.strip_prefix('{') {
        Some(labels) => &labels[labels.rfind('}')? + 1..],
        None => rest,
    };
    let value: f64 = values.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_summed_up_and_the_fullest_cache_is_told() {
        let page = b"# HELP vllm:num_requests_running Requests that run.\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a } b\"} 3.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 4 1700000000000\n\
            vllm:num_requests_waiting{engine=\"0\"} 2.0\r\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n\
            vllm:num_requests_running_total{} 99\nother 5\n";
        let wanted = Gauges { num_running: 7, num_waiting: 2, kv_cache_usage: Some(0.75) };
        assert_eq!(Gauges::read(page), Some(wanted));
    }

    #[test]
    fn other_servers_are_read_as_far_as_they_tell() {
        let llama = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 5\n";
        assert_eq!(
            Gauges::read(llama),
            Some(Gauges { num_running: 1, num_waiting: 5, kv_cache_usage: None })
        );
        for page in
            [&b"process_cpu_seconds_total 1\n"[..], b"", b"vllm:num_requests_running NaN\n", b"\xff\n"]
        {
            assert_eq!(Gauges::read(page), None);
        }
    }
}

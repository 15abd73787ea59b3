//! What a load level showed, as a table row or as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::client::Completion;
use super::drive::{Load, Outcome, Plan};

/// The figures of one load level.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Base address of the server.
    pub url: String,
    /// Model that was asked.
    pub model: String,
    /// Clients of a closed loop.
    pub concurrency: Option<usize>,
    /// Requests per second of an open loop.
    pub rate: Option<f64>,
    /// Requests sent.
    pub num_requests: usize,
    /// Requests that were answered whole.
    pub num_completed: usize,
    /// Requests that failed.
    pub num_errors: usize,
    /// How often each error came.
    pub errors: BTreeMap<String, usize>,
    /// From the first request to the last answer, in seconds.
    pub duration_s: f64,
    /// Tokens of all prompts, as the server counted them.
    pub prompt_tokens: u64,
    /// Of these, tokens the server found in its prefix cache.
    pub cached_tokens: u64,
    /// Generated tokens, as the server counted them.
    pub output_tokens: u64,
    /// Requests answered per second.
    pub requests_per_s: f64,
    /// Generated tokens per second.
    pub output_tokens_per_s: f64,
    /// Tokens of prompts and answers per second.
    pub total_tokens_per_s: f64,
    /// Time to the first piece of text.
    pub ttft_ms: Percentiles,
    /// Time between pieces of text.
    pub inter_token_ms: Percentiles,
    /// Mean time per token after the first, of each request.
    pub tpot_ms: Percentiles,
    /// Time to the end of the answer.
    pub e2e_ms: Percentiles,
}

/// Nearest-rank percentiles, in milliseconds; zero if nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Report {
    pub(super) fn new(url: &str, model: &str, plan: &Plan, outcome: &Outcome) -> Self {
        let done = &outcome.completions;
        let seconds = outcome.elapsed.as_secs_f64().max(f64::EPSILON);
        let sum = |count: fn(&Completion) -> u64| done.iter().map(count).sum::<u64>();
        let (prompt_tokens, output_tokens) = (sum(|c| c.prompt_tokens), sum(|c| c.output_tokens));
        let (concurrency, rate) = match plan.load {
            Load::Closed { concurrency } => (Some(concurrency), None),
            Load::Open { rate } => (None, Some(rate)),
        };
        let mut errors = BTreeMap::new();
        for error in &outcome.errors {
            *errors.entry(error.clone()).or_insert(0) += 1;
        }
        Self {
            url: url.to_owned(),
            model: model.to_owned(),
            concurrency,
            rate,
            num_requests: plan.num_requests,
            num_completed: done.len(),
            num_errors: outcome.errors.len(),
            errors,
            duration_s: seconds,
            prompt_tokens,
            cached_tokens: sum(|c| c.cached_tokens),
            output_tokens,
            requests_per_s: done.len() as f64 / seconds,
            output_tokens_per_s: output_tokens as f64 / seconds,
            total_tokens_per_s: (prompt_tokens + output_tokens) as f64 / seconds,
            ttft_ms: Percentiles::of(done.iter().map(|c| c.first_piece)),
            inter_token_ms: Percentiles::of(done.iter().flat_map(|c| c.gaps.iter().copied())),
            tpot_ms: Percentiles::of(done.iter().filter_map(time_per_token)),
            e2e_ms: Percentiles::of(done.iter().map(|c| c.end_to_end)),
        }
    }

    /// Prints the level as a row, under a heading if it is the first.
    pub(super) fn print_row(&self, is_first: bool) {
        if is_first {
            println!("{}: model {}, latencies in ms as p50/p90/p99", self.url, self.model);
            println!(
                "{:>10} {:>9} {:>6} {:>10} {:>10} {:>20} {:>20} {:>20}",
                "load",
                "requests",
                "errors",
                "out tok/s",
                "all tok/s",
                "first token",
                "inter-token",
                "end to end"
            );
        }
        let load = match (self.concurrency, self.rate) {
            (Some(concurrency), _) => format!("c={concurrency}"),
            (None, rate) => format!("{}/s", rate.unwrap_or_default()),
        };
        println!(
            "{load:>10} {:>9} {:>6} {:>10.1} {:>10.1} {:>20} {:>20} {:>20}",
            self.num_completed,
            self.num_errors,
            self.output_tokens_per_s,
            self.total_tokens_per_s,
            self.ttft_ms.row(),
            self.inter_token_ms.row(),
            self.e2e_ms.row()
        );
        for (error, count) in &self.errors {
            println!("{:>10} {count} x {error}", "");
        }
    }
}

fn time_per_token(completion: &Completion) -> Option<Duration> {
    let after_first = u32::try_from(completion.output_tokens.checked_sub(1)?).ok().filter(|&n| n > 0)?;
    let decoding: Duration = completion.gaps.iter().sum();
    Some(decoding / after_first)
}

impl Percentiles {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = durations.map(|duration| 1e3 * duration.as_secs_f64()).collect();
        if ms.is_empty() {
            return Self::default();
        }
        ms.sort_by(f64::total_cmp);
        let rank = |share: f64| ms[((share * ms.len() as f64).ceil() as usize).clamp(1, ms.len()) - 1];
        let mean = ms.iter().sum::<f64>() / ms.len() as f64;
        Self { mean, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99) }
    }

    fn row(&self) -> String {
        format!("{:.1}/{:.1}/{:.1}", self.p50, self.p90, self.p99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let percentiles = Percentiles::of((1..=100).map(Duration::from_millis));
        assert_eq!((percentiles.p50, percentiles.p90, percentiles.p99), (50.0, 90.0, 99.0));
        assert!((percentiles.mean - 50.5).abs() < 1e-9);
        assert_eq!(Percentiles::of(std::iter::empty()), Percentiles::default());
    }

    #[test]
    fn time_per_token_leaves_the_first_token_out() {
        let gaps = vec![Duration::from_millis(10); 4];
        let completion = Completion { output_tokens: 5, gaps, ..Completion::default() };
        assert_eq!(time_per_token(&completion), Some(Duration::from_millis(10)));
        assert_eq!(time_per_token(&Completion { output_tokens: 1, ..Completion::default() }), None);
    }
}

//! What one load showed, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::goodput::{self, Objective};
use crate::sample::{Failure, Sample};
use crate::stats::{Rank, Summary};

/// Longest message of a failure that is kept.
const MAX_MESSAGE_CHARS: usize = 200;

/// What came of all requests of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were answered whole.
    pub samples: Vec<Sample>,
    /// Those that were not.
    pub failures: Vec<Failure>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Outcome {
    /// Sorts results into the two.
    pub(crate) fn new(results: impl IntoIterator<Item = Result<Sample, Failure>>, elapsed: Duration) -> Self {
        let mut outcome = Self { elapsed, ..Self::default() };
        for result in results {
            match result {
                Ok(sample) => outcome.samples.push(sample),
                Err(failure) => outcome.failures.push(failure),
            }
        }
        outcome
    }
}

/// What is to be told of an outcome.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Percentiles.
    pub ranks: &'a [Rank],
    /// Promises; none if empty.
    pub objectives: &'a [Objective],
}

/// The figures of one load.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The load in few words.
    pub load: String,
    /// Requests sent.
    pub num_requests: usize,
    /// Requests that were answered whole.
    pub num_completed: usize,
    /// Requests that failed.
    pub num_failed: usize,
    /// Of each kind of failure, how many there were and what the first one said.
    pub failures: BTreeMap<String, FailureCount>,
    /// From the first request to the last answer, in seconds.
    pub duration_s: f64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Requests answered per second.
    pub requests_per_s: f64,
    /// Tokens of prompts per second.
    pub prompt_tokens_per_s: f64,
    /// Generated tokens per second.
    pub output_tokens_per_s: f64,
    /// Tokens of prompts and answers per second.
    pub total_tokens_per_s: f64,
    /// Time to the first piece of the answer.
    pub ttft_ms: Option<Summary>,
    /// Time between pieces.
    pub itl_ms: Option<Summary>,
    /// Mean time per token after the first, of each request.
    pub tpot_ms: Option<Summary>,
    /// Time to the end of the answer.
    pub e2e_ms: Option<Summary>,
    /// By how much the latest of the answered requests was sent later than planned: if it is large, the client was the bottleneck.
    pub max_late_ms: f64,
    /// Requests that kept all promises; absent if none were given.
    pub goodput: Option<Goodput>,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    /// How many.
    pub count: usize,
    /// What the first one said.
    pub first: String,
}

/// Requests that kept all promises.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goodput {
    /// The promises.
    pub objectives: Vec<String>,
    /// Good requests.
    pub num_good: usize,
    /// Good requests per second.
    pub requests_per_s: f64,
}

impl Figures {
    /// Sums an outcome up.
    pub fn new(load: String, outcome: &Outcome, wanted: Wanted<'_>) -> Self {
        let samples = &outcome.samples;
        let seconds = outcome.elapsed.as_secs_f64().max(f64::EPSILON);
        let sum = |count: fn(&Sample) -> u64| samples.iter().map(count).sum::<u64>();
        let (prompt_tokens, output_tokens) = (sum(|s| s.prompt_tokens), sum(|s| s.output_tokens));
        let summary = |times: Vec<Duration>| Summary::of(times, wanted.ranks);
        let goodput = (!wanted.objectives.is_empty()).then(|| {
            let num_good = goodput::num_good(samples, wanted.objectives);
            let objectives = wanted.objectives.iter().map(ToString::to_string).collect();
            Goodput { objectives, num_good, requests_per_s: num_good as f64 / seconds }
        });
        let latest = samples.iter().map(|sample| sample.late).max().unwrap_or_default();
        Self {
            load,
            num_requests: samples.len() + outcome.failures.len(),
            num_completed: samples.len(),
            num_failed: outcome.failures.len(),
            failures: count_failures(&outcome.failures),
            duration_s: seconds,
            prompt_tokens,
            cached_tokens: sum(|s| s.cached_tokens),
            output_tokens,
            requests_per_s: samples.len() as f64 / seconds,
            prompt_tokens_per_s: prompt_tokens as f64 / seconds,
            output_tokens_per_s: output_tokens as f64 / seconds,
            total_tokens_per_s: (prompt_tokens + output_tokens) as f64 / seconds,
            ttft_ms: summary(samples.iter().map(|s| s.first_token).collect()),
            itl_ms: summary(samples.iter().flat_map(|s| s.gaps.iter().copied()).collect()),
            tpot_ms: summary(samples.iter().filter_map(Sample::time_per_token).collect()),
            e2e_ms: summary(samples.iter().map(|s| s.end_to_end).collect()),
            max_late_ms: 1e3 * latest.as_secs_f64(),
            goodput,
        }
    }
}

fn count_failures(failures: &[Failure]) -> BTreeMap<String, FailureCount> {
    let mut counts = BTreeMap::new();
    for failure in failures {
        let first =
            || FailureCount { count: 0, first: failure.message.chars().take(MAX_MESSAGE_CHARS).collect() };
        counts.entry(failure.kind.to_string()).or_insert_with(first).count += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::FailureKind;

    fn sample(prompt_tokens: u64, output_tokens: u64, first_ms: u64, gap_ms: u64) -> Sample {
        let gaps = vec![Duration::from_millis(gap_ms); output_tokens as usize - 1];
        let first_token = Duration::from_millis(first_ms);
        let end_to_end = first_token + gaps.iter().sum::<Duration>();
        Sample { prompt_tokens, output_tokens, first_token, gaps, end_to_end, ..Sample::default() }
    }

    #[test]
    fn rates_and_goodput_are_of_the_whole_time() {
        let outcome = Outcome {
            samples: vec![sample(10, 5, 100, 10), sample(20, 5, 200, 30)],
            failures: vec![
                Failure::new(FailureKind::Status(429), "full"),
                Failure::new(FailureKind::Timeout, "slow"),
                Failure::new(FailureKind::Status(429), "still full"),
            ],
            elapsed: Duration::from_secs(2),
        };
        let ranks = ["50".parse().expect("a rank"), "100".parse().expect("a rank")];
        let objectives = ["ttft:150ms".parse().expect("an objective")];
        let wanted = Wanted { ranks: &ranks, objectives: &objectives };
        let figures = Figures::new("c=2".to_owned(), &outcome, wanted);
        assert_eq!((figures.num_requests, figures.num_completed, figures.num_failed), (5, 2, 3));
        assert_eq!((figures.prompt_tokens_per_s, figures.output_tokens_per_s), (15.0, 5.0));
        assert_eq!((figures.total_tokens_per_s, figures.requests_per_s), (20.0, 1.0));
        let goodput = figures.goodput.expect("promises were given");
        assert_eq!((goodput.num_good, goodput.requests_per_s), (1, 0.5));
        assert_eq!(goodput.objectives, ["ttft:150ms"]);
        let failures: Vec<_> =
            figures.failures.iter().map(|(kind, f)| (kind.as_str(), f.count, f.first.as_str())).collect();
        assert_eq!(failures, [("status 429", 2, "full"), ("timeout", 1, "slow")]);
        let cells = [&figures.ttft_ms, &figures.itl_ms, &figures.tpot_ms, &figures.e2e_ms];
        let cells = cells.map(|summary| Summary::cell(summary.as_ref()));
        assert_eq!(cells, ["100.0/200.0", "10.0/30.0", "10.0/30.0", "140.0/320.0"]);
    }

    #[test]
    fn nothing_answered_gives_no_times() {
        let outcome = Outcome { elapsed: Duration::from_secs(1), ..Outcome::default() };
        let figures = Figures::new("c=1".to_owned(), &outcome, Wanted { ranks: &[], objectives: &[] });
        assert_eq!((figures.ttft_ms, figures.goodput, figures.requests_per_s), (None, None, 0.0));
    }
}

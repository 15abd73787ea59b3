//! What is printed at the end, and whether it is good.

use std::fmt;

use spillway_tests::Scrape;

use crate::drive::Tally;
use crate::memory::{Memory, Verdict};

/// Faults that are shown in full.
const MAX_SHOWN_FAULTS: usize = 10;

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seconds: u64,
    pub(crate) tally: Tally,
    pub(crate) memory: Memory,
    /// Whether all blocks were free at the end.
    pub(crate) rest: anyhow::Result<()>,
    pub(crate) before: Scrape,
    pub(crate) after: Scrape,
}

impl Report {
    /// Whether the server stayed whole.
    pub(crate) fn is_good(&self) -> bool {
        let is_flat = !matches!(self.memory.verdict(), Verdict::Judged { is_flat: false, .. });
        self.tally.faults.is_empty() && self.rest.is_ok() && is_flat && self.num_server_errors() == 0.0
    }

    /// Answers with a 5xx that the server itself counted.
    fn num_server_errors(&self) -> f64 {
        self.growth("spillway_http_requests_total", "status=\"5")
    }

    fn growth(&self, name: &str, label: &str) -> f64 {
        self.after.value(name, label).unwrap_or(0.0) - self.before.value(name, label).unwrap_or(0.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.tally.ends.values().sum::<u64>() + self.tally.faults.len() as u64;
        writeln!(f, "{total} requests in {} s", self.seconds)?;
        for (end, count) in &self.tally.ends {
            writeln!(f, "  {count:>7} {end:?}")?;
        }
        for (what, name, label) in [
            ("tokens generated", "vllm:generation_tokens_total", ""),
            ("prompt tokens", "vllm:prompt_tokens_total", ""),
            ("prompt tokens found in the cache", "vllm:prefix_cache_hits_total", ""),
            ("sequences aborted", "vllm:request_success_total", "finished_reason=\"abort\""),
            ("sequences failed", "vllm:request_success_total", "finished_reason=\"error\""),
            ("preemptions", "vllm:num_preemptions_total", ""),
            ("answers with 5xx", "spillway_http_requests_total", "status=\"5"),
        ] {
            writeln!(f, "  {:>7} {what}", self.growth(name, label))?;
        }
        self.write_memory(f)?;
        match &self.rest {
            Ok(()) => writeln!(f, "at the end: nothing runs, nothing waits, all blocks are free")?,
            Err(error) => writeln!(f, "FAULT at the end: {error:#}")?,
        }
        for fault in self.tally.faults.iter().take(MAX_SHOWN_FAULTS) {
            writeln!(f, "FAULT: {fault}")?;
        }
        write!(f, "{} faults: {}", self.tally.faults.len(), if self.is_good() { "good" } else { "NOT GOOD" })
    }
}

impl Report {
    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples: Vec<String> =
            self.memory.samples().iter().map(|(_, kib)| (kib / 1024).to_string()).collect();
        if !samples.is_empty() {
            writeln!(f, "resident MiB, every 5 s: {}", samples.join(" "))?;
        }
        match self.memory.verdict() {
            Verdict::NotJudged => {
                writeln!(f, "memory: not judged, it takes a --server-pid and more than a minute")
            }
            Verdict::Judged { growth, is_flat } => {
                let word = if is_flat { "flat" } else { "FAULT, it grew" };
                writeln!(f, "memory: {word}, {:+.1} % at most since the first minute", growth * 100.0)
            }
        }
    }
}

//! The server's resident memory over time.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Time that a server may take to reach its size.
const WARM_UP: Duration = Duration::from_mins(1);
/// How far above its size after the warm-up it may ever be.
const MAX_GROWTH: f64 = 0.05;

/// Samples of a process, in KiB, with the time since the start.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    samples: Vec<(Duration, u64)>,
}

/// What the samples say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// No process was named, or it was watched for less than the warm-up.
    NotJudged,
    /// Largest growth over the first sample after the warm-up, as a fraction.
    Judged { growth: f64, is_flat: bool },
}

impl Memory {
    /// Samples until it is time. Without a process, only waits.
    pub(crate) async fn watch(pid: Option<u32>, began: Instant, until: Instant) -> anyhow::Result<Self> {
        let Some(pid) = pid else {
            tokio::time::sleep_until(until).await;
            return Ok(Self::default());
        };
        let mut memory = Self::default();
        let mut pace = tokio::time::interval(SAMPLE_EVERY);
        while pace.tick().await < until {
            memory.samples.push((began.elapsed(), resident_kib(pid)?));
        }
        Ok(memory)
    }

    /// Every sample.
    pub(crate) fn samples(&self) -> &[(Duration, u64)] {
        &self.samples
    }

    /// Whether memory was flat.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut after = self.samples.iter().filter(|(at, _)| *at >= WARM_UP).map(|(_, kib)| *kib);
        let Some(base) = after.next() else { return Verdict::NotJudged };
        let most = after.max().unwrap_or(base);
        let growth = (most as f64 - base as f64) / base as f64;
        Verdict::Judged { growth, is_flat: growth <= MAX_GROWTH }
    }
}

fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("process {pid} is gone"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| format!("no VmRSS in {path}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("`{line}` in {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(samples: &[(u64, u64)]) -> Verdict {
        Memory { samples: samples.iter().map(|&(at, kib)| (Duration::from_secs(at), kib)).collect() }
            .verdict()
    }

    #[test]
    fn growth_counts_from_the_end_of_the_warm_up() {
        assert_eq!(verdict(&[(0, 10), (55, 1000)]), Verdict::NotJudged);
        assert_eq!(
            verdict(&[(0, 10), (60, 1000), (65, 990)]),
            Verdict::Judged { growth: -0.01, is_flat: true }
        );
        let Verdict::Judged { growth, is_flat } = verdict(&[(0, 10), (60, 1000), (65, 1060), (70, 1000)])
        else {
            panic!("there are samples after the warm-up");
        };
        assert!((growth - 0.06).abs() < 1e-9 && !is_flat, "{growth}");
    }

    #[test]
    fn reads_the_memory_of_this_process() {
        assert!(resident_kib(std::process::id()).expect("this process is there") > 100);
    }
}

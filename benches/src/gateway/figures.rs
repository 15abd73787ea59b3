//! What a measurement found: both sides, and what the gateway adds.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::args::{Args, Mode};
use super::generator::{Outcome, Plan};
use super::process::Usage;
use crate::stats::{Rank, Summary};

/// One side in all its rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Side(Outcome);

impl Side {
    pub(super) fn add(&mut self, round: Outcome) {
        self.0.add(round);
    }
}

/// Figures of one rate and mode. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GatewayFigures {
    mode: &'static str,
    /// Requests per second that were planned.
    rate: u32,
    /// The mock, asked directly.
    direct: SideFigures,
    /// The mock, asked through the gateway.
    pub(super) gateway: SideFigures,
    /// By how much the gateway's percentiles are above the mock's, to the end of the answer.
    added_ms: Percentiles,
    /// The same to the first piece of the answer's body.
    added_first_ms: Percentiles,
    /// Of the gateway's processes while they were measured, if any were named.
    process: Option<ProcessFigures>,
}

/// Figures of one side.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SideFigures {
    pub(super) num_completed: u64,
    num_failed: u64,
    /// The words of the first failures.
    failures: Vec<String>,
    /// Answers per second.
    achieved_rate: f64,
    total_ms: Option<Summary>,
    first_ms: Option<Summary>,
}

/// What the gateway used.
#[derive(Debug, Clone, Copy, Serialize)]
struct ProcessFigures {
    cpu_seconds: f64,
    cpu_us_per_request: f64,
    resident_bytes: u64,
}

/// Milliseconds at each percentile.
#[derive(Debug, Clone, PartialEq)]
struct Percentiles(Vec<(Rank, f64)>);

impl Serialize for Percentiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (rank, value) in &self.0 {
            map.serialize_entry(&rank.label(), value)?;
        }
        map.end()
    }
}

impl Percentiles {
    /// Nothing if either side has no times.
    fn added(direct: Option<&Summary>, gateway: Option<&Summary>) -> Self {
        let (Some(direct), Some(gateway)) = (direct, gateway) else { return Self(Vec::new()) };
        let pairs = gateway.percentiles.iter().zip(&direct.percentiles);
        Self(pairs.map(|((rank, with), (_, without))| (*rank, with - without)).collect())
    }
}

impl SideFigures {
    fn new(side: Side, ranks: &[Rank]) -> Self {
        let Side(outcome) = side;
        let num_completed = outcome.total.len() as u64;
        Self {
            num_completed,
            num_failed: outcome.num_failed,
            failures: outcome.failures,
            achieved_rate: num_completed as f64 / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            total_ms: Summary::of(outcome.total, ranks),
            first_ms: Summary::of(outcome.first, ranks),
        }
    }
}

impl GatewayFigures {
    pub(super) fn new(plan: &Plan, direct: Side, gateway: Side, used: Usage, args: &Args) -> Self {
        let direct = SideFigures::new(direct, &args.percentiles);
        let gateway = SideFigures::new(gateway, &args.percentiles);
        let num_answers = (gateway.num_completed + gateway.num_failed).max(1) as f64;
        let process = (!args.pid.is_empty()).then(|| ProcessFigures {
            cpu_seconds: used.cpu_seconds,
            cpu_us_per_request: 1e6 * used.cpu_seconds / num_answers,
            resident_bytes: used.resident_bytes,
        });
        Self {
            mode: match plan.mode {
                Mode::Streamed => "streamed",
                Mode::Whole | Mode::Both => "whole",
            },
            rate: plan.rate,
            added_ms: Percentiles::added(direct.total_ms.as_ref(), gateway.total_ms.as_ref()),
            added_first_ms: Percentiles::added(direct.first_ms.as_ref(), gateway.first_ms.as_ref()),
            direct,
            gateway,
            process,
        }
    }

    pub(super) fn print(&self) {
        let row = |name: &str, side: Option<&SideFigures>, percentiles: &[(Rank, f64)]| {
            let cells: Vec<String> = percentiles.iter().map(|(_, value)| format!("{value:>9.3}")).collect();
            let counts = side.map_or_else(
                || format!("{:>9} {:>7}", "", ""),
                |side| format!("{:>9.1} {:>7}", side.achieved_rate, side.num_failed),
            );
            println!("{:>9} {:>7} {name:>8} {counts} {}", self.mode, self.rate, cells.join(" "));
        };
        let of = |side: &SideFigures| {
            side.total_ms.as_ref().map(|told| told.percentiles.clone()).unwrap_or_default()
        };
        row("direct", Some(&self.direct), &of(&self.direct));
        row("gateway", Some(&self.gateway), &of(&self.gateway));
        row("added", None, &self.added_ms.0);
        if let Some(process) = &self.process {
            println!(
                "{:>26} {:.2} s of processor, {:.0} us a request, {:.1} MiB resident",
                "gateway:",
                process.cpu_seconds,
                process.cpu_us_per_request,
                process.resident_bytes as f64 / f64::from(1 << 20)
            );
        }
        for failure in self.direct.failures.iter().chain(&self.gateway.failures) {
            println!("{:>26} {failure}", "failed:");
        }
    }
}

pub(super) fn print_heading(args: &Args) {
    let ranks: Vec<String> = args.percentiles.iter().map(|rank| format!("{:>9}", rank.label())).collect();
    println!("{}: times in ms from the planned moment to the end of the answer", args.url);
    println!(
        "{:>9} {:>7} {:>8} {:>9} {:>7} {}",
        "answers",
        "rate",
        "side",
        "achieved",
        "failed",
        ranks.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn side(times_ms: std::ops::RangeInclusive<u64>) -> Side {
        let total: Vec<Duration> = times_ms.map(Duration::from_millis).collect();
        let elapsed = Duration::from_secs(10);
        Side(Outcome { first: total.clone(), total, elapsed, ..Outcome::default() })
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_is_added_is_the_difference_at_each_percentile() {
        let args = <Cli as clap::Parser>::parse_from(["bench", "--percentiles", "50,99"]).args;
        let plan = Plan::new(&args, Mode::Whole, 10);
        let figures = GatewayFigures::new(&plan, side(1..=100), side(11..=110), Usage::default(), &args);
        let json = serde_json::to_value(&figures).expect("it serialises");
        assert_eq!(json["added_ms"], serde_json::json!({"p50": 10.0, "p99": 10.0}));
        assert_eq!(json["gateway"]["achieved_rate"], 10.0);
        assert_eq!(json["process"], serde_json::Value::Null, "no process was named");
        let none = GatewayFigures::new(&plan, side(1..=100), Side::default(), Usage::default(), &args);
        assert_eq!(none.added_ms, Percentiles(Vec::new()));
    }
}

//! Load on a server: closed loop or open loop.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use super::args::Args;
use super::client::{Client, Completion};
use super::prompts::Prompts;
use super::stopwatch::Stopwatch;

/// Requests for each client of a closed loop, if no number is given.
const REQUESTS_PER_CLIENT: usize = 4;
/// Seconds that an open loop lasts, if no number of requests is given.
const OPEN_LOOP_SECS: f64 = 10.0;

/// One level of load.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    level_idx: u64,
    pub(super) load: Load,
    pub(super) num_requests: usize,
}

/// How requests are timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    Closed { concurrency: usize },
    Open { rate: f64 },
}

/// What came of all requests of a level.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) completions: Vec<Completion>,
    pub(super) errors: Vec<String>,
    pub(super) elapsed: Duration,
}

impl Plan {
    /// The levels that the arguments ask for, in order.
    pub(super) fn levels(args: &Args) -> Vec<Self> {
        let loads: Vec<Load> = if args.rate.is_empty() {
            args.concurrency.iter().map(|&concurrency| Load::Closed { concurrency }).collect()
        } else {
            args.rate.iter().map(|&rate| Load::Open { rate }).collect()
        };
        let usual = |load: &Load| match *load {
            Load::Closed { concurrency } => REQUESTS_PER_CLIENT * concurrency,
            Load::Open { rate } => (OPEN_LOOP_SECS * rate).ceil() as usize,
        };
        (0..)
            .zip(loads)
            .map(|(level_idx, load)| Self {
                level_idx,
                load,
                num_requests: args.num_requests.unwrap_or_else(|| usual(&load)),
            })
            .collect()
    }

    /// Place of the level in the run.
    pub(super) fn level_idx(&self) -> u64 {
        self.level_idx
    }
}

/// Sends a few requests one by one; an error here is the user's to see at once.
pub(super) async fn warm_up(client: &Client, prompts: &Prompts, num_requests: usize) -> anyhow::Result<()> {
    for request_idx in 0..num_requests {
        client.complete(&prompts.get(request_idx)).await.context("the warm-up request failed")?;
    }
    Ok(())
}

/// Sends all requests of a level and waits for the last.
pub(super) async fn run(client: &Arc<Client>, prompts: &Prompts, plan: &Plan, args: &Args) -> Outcome {
    let progress = progress_bar(plan, args);
    let watch = Stopwatch::start();
    let prompts: Arc<[String]> = (0..plan.num_requests).map(|request_idx| prompts.get(request_idx)).collect();
    let results = match plan.load {
        Load::Closed { concurrency } => closed_loop(client, &prompts, concurrency, &progress).await,
        Load::Open { rate } => {
            open_loop(client, &prompts, arrivals(rate, &prompts, args.seed), &progress).await
        }
    };
    progress.finish_and_clear();
    let mut outcome = Outcome { elapsed: watch.elapsed(), ..Outcome::default() };
    for result in results {
        match result {
            Ok(completion) => outcome.completions.push(completion),
            Err(error) => outcome.errors.push(format!("{error:#}")),
        }
    }
    outcome
}

type Results = Vec<anyhow::Result<Completion>>;

async fn closed_loop(
    client: &Arc<Client>,
    prompts: &Arc<[String]>,
    concurrency: usize,
    progress: &ProgressBar,
) -> Results {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..concurrency.min(prompts.len()) {
        let (client, prompts, next) = (Arc::clone(client), Arc::clone(prompts), Arc::clone(&next));
        let progress = progress.clone();
        clients.spawn(async move {
            let mut results = Vec::new();
            while let Some(prompt) = prompts.get(next.fetch_add(1, Ordering::Relaxed)) {
                results.push(client.complete(prompt).await);
                progress.inc(1);
            }
            results
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

async fn open_loop(
    client: &Arc<Client>,
    prompts: &Arc<[String]>,
    arrivals: Vec<Duration>,
    progress: &ProgressBar,
) -> Results {
    let watch = Stopwatch::start();
    let mut requests = JoinSet::new();
    for (request_idx, arrival) in arrivals.into_iter().enumerate() {
        tokio::time::sleep(arrival.saturating_sub(watch.elapsed())).await;
        let (client, prompts, progress) = (Arc::clone(client), Arc::clone(prompts), progress.clone());
        requests.spawn(async move {
            let result = client.complete(&prompts[request_idx]).await;
            progress.inc(1);
            result
        });
    }
    requests.join_all().await
}

/// Times of a Poisson process: the gaps are exponentially distributed.
fn arrivals(rate: f64, prompts: &[String], seed: u64) -> Vec<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut at = 0.0;
    prompts
        .iter()
        .map(|_| {
            let uniform: f64 = random.random();
            at -= (1.0 - uniform).ln() / rate;
            Duration::from_secs_f64(at)
        })
        .collect()
}

fn progress_bar(plan: &Plan, args: &Args) -> ProgressBar {
    if args.json || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {elapsed}");
    let label = match plan.load {
        Load::Closed { concurrency } => format!("concurrency {concurrency}"),
        Load::Open { rate } => format!("rate {rate}/s"),
    };
    ProgressBar::new(plan.num_requests as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_the_rate_and_in_order() {
        let prompts = vec![String::new(); 4000];
        let times = arrivals(20.0, &prompts, 3);
        assert!(times.is_sorted());
        let rate = 4000.0 / times[3999].as_secs_f64();
        assert!((rate - 20.0).abs() < 1.0, "{rate}");
        assert_eq!(times, arrivals(20.0, &prompts, 3));
    }
}

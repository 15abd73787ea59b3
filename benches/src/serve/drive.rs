//! Sends the requests of one load and waits for the last answer.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;

use super::args::Args;
use super::client::Client;
use super::load::{Load, arrivals};
use crate::dataset::Prompt;
use crate::figures::Outcome;
use crate::sample::{Failure, Sample};
use crate::stopwatch::Stopwatch;

type Results = Vec<Result<Sample, Failure>>;

/// Sends all prompts under a load.
pub(super) async fn run(
    client: &Arc<Client>,
    prompts: Vec<Prompt>,
    load: Load,
    args: &Args,
) -> anyhow::Result<Outcome> {
    let progress = progress_bar(load, prompts.len(), args);
    let prompts: Arc<[Prompt]> = prompts.into();
    let schedule = match load {
        Load::Closed { .. } => Vec::new(),
        Load::Open { rate } => arrivals(rate, prompts.len(), args)?,
    };
    let watch = Stopwatch::start();
    let results = match load {
        Load::Closed { concurrency } => closed_loop(client, &prompts, concurrency, &progress).await,
        Load::Open { .. } => open_loop(client, &prompts, schedule, &progress).await,
    };
    let elapsed = watch.elapsed();
    progress.finish_and_clear();
    Ok(Outcome::new(results, elapsed))
}

async fn closed_loop(
    client: &Arc<Client>,
    prompts: &Arc<[Prompt]>,
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
                results.push(client.complete(prompt, Duration::ZERO).await);
                progress.inc(1);
            }
            results
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// Each request counts from the moment at which it was due, even if this program sends it later.
async fn open_loop(
    client: &Arc<Client>,
    prompts: &Arc<[Prompt]>,
    schedule: Vec<Duration>,
    progress: &ProgressBar,
) -> Results {
    let watch = Stopwatch::start();
    let mut requests = JoinSet::new();
    for (request_idx, due) in schedule.into_iter().enumerate() {
        let early = due.saturating_sub(watch.elapsed());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        let (client, prompts, progress) = (Arc::clone(client), Arc::clone(prompts), progress.clone());
        requests.spawn(async move {
            let result = client.complete(&prompts[request_idx], watch.elapsed().saturating_sub(due)).await;
            progress.inc(1);
            result
        });
    }
    requests.join_all().await
}

fn progress_bar(load: Load, num_requests: usize, args: &Args) -> ProgressBar {
    if args.told.json || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {elapsed}");
    ProgressBar::new(num_requests as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(load.to_string())
}

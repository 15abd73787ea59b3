//! Many clients with random requests against a running server, for minutes: does it stay whole?
//!
//! A third of the requests is hung up on at a random moment, one in fifty is malformed, and one in twenty is the same
//! greedy question, whose answer must never change. At the end every block must be free, no answer may have been a
//! 5xx, and the server's memory must have been flat since the first minute. The exit code says whether all this held.
//!
//! ```console
//! spillway serve --model demo --kv-cache-memory 512MiB &
//! cargo run --release -p spillway-tests --bin soak -- --url http://127.0.0.1:8000 --seconds 300 --server-pid $!
//! ```

mod drive;
mod memory;
mod plan;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use spillway_tests::{Client, Scrape};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::drive::{Canary, Driver, Tally};
use crate::memory::Memory;
use crate::plan::Planner;
use crate::report::Report;

/// Time between two looks at a server that is coming to rest.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Many clients with random requests against a running server.
#[derive(Debug, Parser)]
struct Args {
    /// The server's address.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// How long to go on.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Clients, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    clients: u64,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Process whose resident memory is watched; not watched if absent.
    #[arg(long)]
    server_pid: Option<u32>,
    /// How long the server may take to come to rest at the end.
    #[arg(long, default_value_t = 60)]
    rest_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let report = soak(&args).await?;
    println!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn soak(args: &Args) -> anyhow::Result<Report> {
    let client = Client::new(&args.url)?;
    let canary = Canary::learn(&client).await.context("the server does not answer a plain question")?;
    let planner = Planner::learn(&client).await?;
    let before = scrape(&client).await?;
    let began = Instant::now();
    let until = began + Duration::from_secs(args.seconds);

    let mut clients = JoinSet::new();
    for index in 0..args.clients {
        let seed = args.seed.wrapping_mul(1 << 20).wrapping_add(index);
        let driver = Driver::new(client.clone(), canary.clone(), planner.clone(), seed);
        clients.spawn(driver.run(until));
    }
    let memory = Memory::watch(args.server_pid, began, until).await?;
    let mut tally = Tally::default();
    while let Some(of_client) = clients.join_next().await {
        tally.add(of_client?);
    }
    let rest = Duration::from_secs(args.rest_seconds);
    let held = tokio::time::timeout(rest, comes_to_rest(&client)).await.unwrap_or_else(|_| {
        Err(anyhow::anyhow!("the server did not come to rest within {} s", args.rest_seconds))
    });
    let after = scrape(&client).await?;
    Ok(Report { seconds: args.seconds, tally, memory, rest: held, before, after })
}

/// Waits until nothing runs, nothing waits and no block is held.
async fn comes_to_rest(client: &Client) -> anyhow::Result<()> {
    let mut pace = tokio::time::interval(LOOK_AGAIN);
    loop {
        let scrape = scrape(client).await?;
        let gauges = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"];
        if gauges.iter().all(|gauge| scrape.value(gauge, "") == Some(0.0)) {
            return Ok(());
        }
        pace.tick().await;
    }
}

async fn scrape(client: &Client) -> anyhow::Result<Scrape> {
    let reply = client.get("/metrics").await?;
    anyhow::ensure!(reply.status == 200, "/metrics answers {}: {}", reply.status, reply.text);
    Ok(Scrape::new(reply.text))
}

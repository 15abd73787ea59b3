//! What the ledger costs a request: one reservation while nothing else happens, and how many go in a second.

use std::error::Error;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use spillway_store::{
    Call, FinishedCall, Ledger, Outcome, Refund, Reservation, Settlement, Store, StoreConfig, UnixMs,
};
use spillway_types::{ModelId, Usage, Usd};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = Store::open(&StoreConfig::new(folder.path().join("spillway.db")))?;
    let ledger = store.ledger();
    let runtime = Runtime::new()?;
    let mut criterion = Criterion::default().configure_from_args();
    runtime.block_on(print_waits(&ledger));

    let mut group = criterion.benchmark_group("ledger");
    group.bench_function("reserve, one at a time", |bencher| {
        bencher
            .iter_custom(|num_calls| runtime.block_on(reserve_and_refund(&ledger, num_calls)).iter().sum());
    });
    for num_tasks in [8, 64, 512] {
        group.throughput(Throughput::Elements(1));
        let id = BenchmarkId::new("reserve and settle, by tasks", num_tasks);
        group.bench_with_input(id, &num_tasks, |bencher, num_tasks| {
            bencher.iter_custom(|num_calls| runtime.block_on(by_many(&ledger, *num_tasks, num_calls)));
        });
    }
    group.bench_function("record", |bencher| {
        bencher.iter_custom(|num_calls| runtime.block_on(record(&ledger, num_calls)));
    });
    group.finish();
    criterion.final_summary();
    store.close()?;
    Ok(())
}

/// How long one reservation takes, as the share of them that took no longer.
async fn print_waits(ledger: &Ledger) {
    let mut waits = reserve_and_refund(ledger, 20_000).await;
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let (p50, p90, p99, most) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("reserve, idle writer: p50 {p50:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, most {most:.0} us");
}

/// The time that each reservation took, without what came between them.
async fn reserve_and_refund(ledger: &Ledger, num_calls: u64) -> Vec<Duration> {
    let mut waits = Vec::new();
    for _ in 0..num_calls {
        let start = now();
        let open = ledger.reserve(Reservation { call: call(), amount: Usd::from_nanos(1000) }).await;
        waits.push(start.elapsed());
        let open = open.expect("there is room");
        open.refund(Refund {
            outcome: Outcome::Cancelled,
            provider_request_id: None,
            settled_at: UnixMs(1),
            duration_ms: 1,
        });
        // The refund is written before the next reservation, so that each meets an idle writer.
        ledger.flush().await.expect("written");
    }
    waits
}

/// The time from the first reservation to the last settlement in the file, each task waiting for its own.
async fn by_many(ledger: &Ledger, num_tasks: u64, num_calls: u64) -> Duration {
    let start = now();
    let mut tasks = JoinSet::new();
    for task in 0..num_tasks {
        let ledger = ledger.clone();
        let num_own = num_calls / num_tasks + u64::from(task < num_calls % num_tasks);
        tasks.spawn(async move {
            for _ in 0..num_own {
                let reservation = Reservation { call: call(), amount: Usd::from_nanos(1000) };
                ledger.reserve(reservation).await.expect("there is room").settle(settlement());
            }
        });
    }
    tasks.join_all().await;
    ledger.flush().await.expect("written");
    start.elapsed()
}

/// The time until all is in the file, a thousand at a time so that there is room.
async fn record(ledger: &Ledger, num_calls: u64) -> Duration {
    let start = now();
    for number in 1..=num_calls {
        ledger.record(FinishedCall { call: call(), settlement: settlement() }).expect("there is room");
        if number % 1000 == 0 {
            ledger.flush().await.expect("written");
        }
    }
    ledger.flush().await.expect("written");
    start.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn call() -> Call {
    Call {
        request: "req-0123456789abcdef".into(),
        attempt: 1,
        key: Some("ward 7".into()),
        route: "chat".into(),
        backend: "bedrock".into(),
        model: ModelId::new("us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        privacy: "standard",
        variant: None,
        purpose: "serve",
        started_at: UnixMs(1_795_420_065_000),
        estimated_prompt_tokens: 1200,
        max_tokens: Some(500),
    }
}

fn settlement() -> Settlement {
    Settlement {
        outcome: Outcome::Answered,
        usage: Usage { prompt_tokens: 1210, completion_tokens: 77, ..Usage::default() },
        cost: Usd::from_nanos(300),
        strong_cost: Some(Usd::from_nanos(900)),
        provider_request_id: Some("7a1c8a52-5d3c-4f4e-9a0e-3a8e1f6f2b11".to_owned()),
        settled_at: UnixMs(1_795_420_066_000),
        ttft_ms: Some(300),
        duration_ms: 1000,
    }
}

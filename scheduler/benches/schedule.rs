//! What scheduling costs: 256 running sequences, 1,000 waiting ones, and the step's completion.
//!
//! Goal: planning one step in under 200 microseconds.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BatchSize, Criterion};
use spillway_scheduler::{PrefixUse, RowResult, Scheduler, SchedulerConfig, SchedulerOutput, SubmitRequest};
use spillway_types::{BlockSize, Priority, RequestId, TokenId};

const NUM_RUNNING: u32 = 256;
const NUM_WAITING: u32 = 1000;
const PROMPT_TOKENS: u32 = 500;
/// Long after the last submission, so that ageing is at work.
const NOW: Duration = Duration::from_secs(90);

/// A scheduler in which 256 sequences decode, one step in flight at most.
fn decoding() -> Scheduler {
    let count = |value| NonZeroU32::new(value).expect("not zero");
    let mut scheduler = Scheduler::new(SchedulerConfig {
        block_size: BlockSize::try_from(16).expect("a block size"),
        num_blocks: count(100_000),
        max_num_batched_tokens: count(8192),
        max_num_seqs: count(NUM_RUNNING),
        max_waiting: count(10_000),
        max_model_len: count(100_000),
        max_in_flight_steps: NonZeroU32::MIN,
        prefix_caching: true,
        ageing_interval: Duration::from_mins(1),
        long_prefill_threshold: None,
    })
    .expect("a valid configuration");
    submit(&mut scheduler, 0..NUM_RUNNING);
    while scheduler.stats().num_running < NUM_RUNNING {
        let output = scheduler.schedule(Duration::ZERO).expect("prompts are waiting");
        complete(&mut scheduler, output);
    }
    let output = scheduler.schedule(Duration::ZERO).expect("all decode");
    complete(&mut scheduler, output);
    scheduler
}

fn submit(scheduler: &mut Scheduler, request_ids: std::ops::Range<u32>) {
    for request_id in request_ids {
        let request = SubmitRequest {
            request_id: RequestId(request_id.into()),
            prompt: (0..PROMPT_TOKENS).map(|at| TokenId(request_id * PROMPT_TOKENS + at)).collect(),
            n: NonZeroU32::MIN,
            max_tokens: None,
            end_tokens: Arc::from([TokenId(2)]),
            priority: Priority::ALL[request_id as usize % 3],
            cache_salt: None,
            prefix: PrefixUse::Reuse,
        };
        scheduler.submit(request, Duration::from_millis(request_id.into())).expect("room in the queue");
    }
}

fn results(output: &SchedulerOutput) -> Vec<RowResult> {
    let bring = |row: &spillway_scheduler::ScheduledRow| {
        if row.samples { RowResult::one(TokenId(7)) } else { RowResult::default() }
    };
    output.rows.iter().map(bring).collect()
}

fn complete(scheduler: &mut Scheduler, output: SchedulerOutput) {
    let brought = results(&output);
    black_box(scheduler.complete(output.step, &brought));
    scheduler.recycle(output);
}

/// Steps after which a scheduler is built anew, so that its sequences stay of ordinary length.
const STEPS_OF_ONE_SCHEDULER: u64 = 2000;

/// Plans and completes steps over and over, and sums up what `timed` says of each.
fn over_many_steps(
    criterion: &mut Criterion,
    name: &str,
    fresh: impl Fn() -> Scheduler,
    mut timed: impl FnMut(&mut Scheduler) -> Duration,
) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|num_iterations| {
            let mut total = Duration::ZERO;
            let mut scheduler = fresh();
            for iteration in 1..=num_iterations {
                total += timed(&mut scheduler);
                if iteration % STEPS_OF_ONE_SCHEDULER == 0 {
                    scheduler = fresh();
                }
            }
            total
        });
    });
}

/// The time to plan one step, which is then completed.
fn plan_one(scheduler: &mut Scheduler) -> Duration {
    let started = WallTime.start();
    let output = black_box(scheduler.schedule(NOW)).expect("all decode");
    let elapsed = WallTime.end(started);
    assert_eq!(output.rows.len(), NUM_RUNNING as usize, "nobody was preempted");
    complete(scheduler, output);
    elapsed
}

/// The time to complete one step.
fn complete_one(scheduler: &mut Scheduler) -> Duration {
    let output = scheduler.schedule(NOW).expect("all decode");
    let brought = results(&output);
    let started = WallTime.start();
    black_box(scheduler.complete(output.step, &brought));
    let elapsed = WallTime.end(started);
    scheduler.recycle(output);
    elapsed
}

fn with_queue(mut scheduler: Scheduler) -> Scheduler {
    submit(&mut scheduler, NUM_RUNNING..NUM_RUNNING + NUM_WAITING);
    scheduler
}

/// Sixteen places come free at once for prompts of which nothing is cached: hashes, lookups, tables.
fn admit_sixteen(criterion: &mut Criterion) {
    criterion.bench_function("schedule/16 of 1000 waiting are admitted, 500 tokens each", |bencher| {
        let fresh = || {
            let mut scheduler = decoding();
            (0..16).for_each(|request_id| scheduler.abort(RequestId(request_id)));
            with_queue(scheduler)
        };
        let plan = |scheduler: &mut Scheduler| black_box(scheduler.schedule(NOW));
        bencher.iter_batched_ref(fresh, plan, BatchSize::LargeInput);
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    over_many_steps(&mut criterion, "schedule/256 decodes", decoding, plan_one);
    over_many_steps(
        &mut criterion,
        "schedule/256 decodes, 1000 waiting",
        || with_queue(decoding()),
        plan_one,
    );
    over_many_steps(&mut criterion, "complete/256 rows", decoding, complete_one);
    admit_sixteen(&mut criterion);
    criterion.final_summary();
}

//! Golden traces: written scenarios and the decisions that the scheduler takes in them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them when it updates a trace")]

#[path = "traces/batching.rs"]
mod batching;
#[path = "traces/in_flight.rs"]
mod in_flight;
#[path = "traces/limits.rs"]
mod limits;
#[path = "traces/preemption.rs"]
mod preemption;
#[path = "traces/queue.rs"]
mod queue;
#[path = "traces/sharing.rs"]
mod sharing;
#[path = "traces/trace.rs"]
mod trace;

use expect_test::Expect;

/// Runs a written trace and compares what it printed.
fn check(trace: &str, expected: &Expect) {
    expected.assert_eq(&trace::run(trace).expect("trace is well formed"));
}

//! What is known of one replica: what we have under way there, what it says of itself, and how our requests fared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

/// Failures in a row after which a replica is left alone for a moment.
const MAX_FAILURES: u32 = 3;
/// How long it is left alone the first time; doubled each time that it fails again.
const FIRST_BREAK: Duration = Duration::from_secs(1);
/// The longest time that it is left alone.
const LONGEST_BREAK: Duration = Duration::from_secs(30);

/// What a replica said of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::openai_compatible) struct Report {
    pub(in crate::openai_compatible) num_running: u32,
    pub(in crate::openai_compatible) num_waiting: u32,
    /// Of these, requests that are not ours.
    pub(in crate::openai_compatible) num_others: u32,
    pub(in crate::openai_compatible) kv_cache_usage: Option<f64>,
    /// When, as time since the backend was started.
    pub(in crate::openai_compatible) at: Duration,
}

/// What its `/health` said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::openai_compatible) enum ReplicaHealth {
    Up,
    Down,
}

/// All of it. Readers see each part as of its own moment, which is as good as one moment: all are guesses of the next.
#[derive(Debug, Default)]
pub(in crate::openai_compatible) struct ReplicaState {
    num_in_flight: AtomicU32,
    report: ArcSwapOption<Report>,
    /// Its `/health` says that it is down. One that was not asked yet is not.
    is_down: AtomicBool,
    /// Failures since the last success.
    num_failures: AtomicU32,
    /// It is left alone until then: milliseconds since the backend was started.
    out_until_ms: AtomicU64,
    /// It asked not to be asked until then.
    busy_until_ms: AtomicU64,
}

impl ReplicaState {
    pub(super) fn begin(&self) {
        self.num_in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.num_in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(in crate::openai_compatible) fn num_in_flight(&self) -> u32 {
        self.num_in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self) -> Option<Arc<Report>> {
        self.report.load_full()
    }

    pub(in crate::openai_compatible) fn reported(&self, report: Report) {
        self.report.store(Some(Arc::new(report)));
    }

    /// Takes what `/health` says; whether that is news.
    pub(in crate::openai_compatible) fn looked_at(&self, health: ReplicaHealth) -> bool {
        let is_down = health == ReplicaHealth::Down;
        self.is_down.swap(is_down, Ordering::Relaxed) != is_down
    }

    pub(super) fn is_down(&self, now: Duration) -> bool {
        self.is_down.load(Ordering::Relaxed) || is_before(now, &self.out_until_ms)
    }

    pub(super) fn is_busy(&self, now: Duration) -> bool {
        is_before(now, &self.busy_until_ms)
    }

    pub(super) fn succeeded(&self) {
        // Most often nothing is to be written, and a read is cheaper.
        if self.num_failures.load(Ordering::Relaxed) > 0 {
            self.num_failures.store(0, Ordering::Relaxed);
        }
    }

    /// Left alone after some failures in a row.
    pub(super) fn failed(&self, now: Duration) {
        let num_failures = self.num_failures.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(too_many) = num_failures.checked_sub(MAX_FAILURES) {
            self.leave_alone(now, too_many);
        }
    }

    /// Left alone at once.
    pub(super) fn unreachable(&self, now: Duration) {
        let num_failures = self.num_failures.fetch_add(1, Ordering::Relaxed);
        self.leave_alone(now, num_failures);
    }

    fn leave_alone(&self, now: Duration, num_before: u32) {
        let pause = FIRST_BREAK.saturating_mul(2_u32.saturating_pow(num_before)).min(LONGEST_BREAK);
        self.out_until_ms.store(millis(now + pause), Ordering::Relaxed);
    }

    /// Not asked for as long as it said, or for a moment.
    pub(super) fn busy(&self, now: Duration, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or(FIRST_BREAK).min(LONGEST_BREAK);
        self.busy_until_ms.store(millis(now + pause), Ordering::Relaxed);
    }
}

fn is_before(now: Duration, until_ms: &AtomicU64) -> bool {
    millis(now) < until_ms.load(Ordering::Relaxed)
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

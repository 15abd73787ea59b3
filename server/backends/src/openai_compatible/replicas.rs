//! The replicas of one backend, and which of them gets a request.
//!
//! A prompt's favourite gets it unless that is overloaded: then the second favourite, and if that is, too, the less
//! loaded of two that are drawn at random. Load is what we have under way there, and what others have by its own metrics.
//!
//! # Invariants
//!
//! - Nothing here waits: all state is in atomics, or swapped as a whole.
//! - A request is counted as under way from its choice until its [`InFlight`] is dropped.
//!
//! Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use spillway_router::{BackendHealth, BackendLoad, ErrorClass};
use tokio::time::Instant;

use super::ReplicaUrl;
use super::affinity::PrefixKey;
use super::fault::Fault;
use super::request::Endpoint;
pub(super) use state::{ReplicaHealth, ReplicaState, Report};

/// Requests by which a favourite may stand above the less loaded of two others, and the share of that one's own load by
/// which it may, too: caches are worth a short queue.
const AFFINITY_SLACK: u32 = 4;
const AFFINITY_SLACK_DIVISOR: u32 = 4;

/// One server.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) url: ReplicaUrl,
    pub(super) health: Uri,
    pub(super) metrics: Uri,
    chat: Uri,
    completions: Uri,
    pub(super) state: ReplicaState,
}

impl Replica {
    fn new(url: ReplicaUrl) -> Self {
        Self {
            health: url.endpoint("/health"),
            metrics: url.endpoint("/metrics"),
            chat: url.endpoint(Endpoint::Chat.path()),
            completions: url.endpoint(Endpoint::Completions.path()),
            state: ReplicaState::default(),
            url,
        }
    }

    /// Where requests of one kind go.
    pub(super) fn uri(&self, endpoint: Endpoint) -> &Uri {
        match endpoint {
            Endpoint::Chat => &self.chat,
            Endpoint::Completions => &self.completions,
        }
    }
}

/// All replicas of one backend: at least one.
#[derive(Debug)]
pub(super) struct Replicas {
    all: Vec<Replica>,
    /// Time from which a report says nothing any more.
    max_report_age: Duration,
    start: Instant,
    draws: AtomicU64,
}

/// A request under way at a replica.
#[derive(Debug)]
pub(super) struct InFlight {
    replicas: Arc<Replicas>,
    index: usize,
}

impl Replicas {
    pub(super) fn new(urls: Vec<ReplicaUrl>, max_report_age: Duration) -> Self {
        let all = urls.into_iter().map(Replica::new).collect();
        Self { all, max_report_age, start: Instant::now(), draws: AtomicU64::new(0) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter()
    }

    /// Chooses a replica for a prompt.
    pub(super) fn choose(self: &Arc<Self>, key: impl FnOnce() -> PrefixKey) -> InFlight {
        let index = if self.all.len() == 1 { 0 } else { self.pick(key()) };
        self.all[index].state.begin();
        InFlight { replicas: Arc::clone(self), index }
    }

    fn pick(&self, key: PrefixKey) -> usize {
        let usable = self.usable();
        let loads = |index: usize| self.load_of(&self.all[index]);
        let (one, other) = self.draw_two(&usable);
        let drawn = if loads(other) < loads(one) { other } else { one };
        let limit = loads(drawn) + AFFINITY_SLACK.max(loads(drawn) / AFFINITY_SLACK_DIVISOR);
        let mut favourites = usable;
        favourites.sort_by_cached_key(|&index| std::cmp::Reverse(key.rank(self.all[index].url.as_str())));
        favourites.into_iter().take(2).find(|&index| loads(index) <= limit).unwrap_or(drawn)
    }

    /// Those that may be asked; all that are up if none may, and all if none is up.
    fn usable(&self) -> Vec<usize> {
        let now = self.now();
        let of = |is_wanted: &dyn Fn(&ReplicaState) -> bool| -> Vec<usize> {
            (0..self.all.len()).filter(|&index| is_wanted(&self.all[index].state)).collect()
        };
        let free = of(&|state| !state.is_down(now) && !state.is_busy(now));
        if !free.is_empty() {
            return free;
        }
        let up = of(&|state| !state.is_down(now));
        if up.is_empty() { of(&|_| true) } else { up }
    }

    /// Two of them at random, the same one twice if there is one.
    fn draw_two(&self, usable: &[usize]) -> (usize, usize) {
        let random = mixed(self.draws.fetch_add(1, Ordering::Relaxed));
        let len = usable.len();
        let first = (random as u32) as usize % len;
        let step = if len > 1 { 1 + (random >> 32) as usize % (len - 1) } else { 0 };
        (usable[first], usable[(first + step) % len])
    }

    fn load_of(&self, replica: &Replica) -> u32 {
        let others = self.report(replica).map_or(0, |report| report.num_others);
        replica.state.num_in_flight().saturating_add(others)
    }

    /// What a replica said of itself, unless that is too old.
    fn report(&self, replica: &Replica) -> Option<Arc<Report>> {
        replica.state.report().filter(|report| self.now().saturating_sub(report.at) <= self.max_report_age)
    }

    /// Time since the backend was started.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// All of them together.
    pub(super) fn load(&self) -> BackendLoad {
        let mut sum = BackendLoad::default();
        for replica in &self.all {
            let in_flight = replica.state.num_in_flight();
            let Some(report) = self.report(replica) else {
                sum.num_running += in_flight;
                continue;
            };
            sum.num_running += report.num_running.max(in_flight.saturating_sub(report.num_waiting));
            sum.num_waiting += report.num_waiting;
            let fuller = |known: Option<f64>, other: f64| Some(known.map_or(other, |known| known.max(other)));
            sum.kv_cache_usage =
                report.kv_cache_usage.map_or(sum.kv_cache_usage, |other| fuller(sum.kv_cache_usage, other));
        }
        sum
    }

    /// Whether any of them can be asked.
    pub(super) fn health(&self) -> BackendHealth {
        let now = self.now();
        if self.all.iter().any(|replica| !replica.state.is_down(now)) {
            return BackendHealth::Ready;
        }
        let reason = match self.all.len() {
            1 => "it cannot be reached".to_owned(),
            count => format!("none of its {count} replicas can be reached"),
        };
        BackendHealth::Unreachable { reason: reason.into() }
    }
}

/// Spreads the bits of a count. Source: Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014.
fn mixed(count: u64) -> u64 {
    let mut bits = count.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

impl InFlight {
    pub(super) fn replica(&self) -> &Replica {
        &self.replicas.all[self.index]
    }

    /// The request came to its end.
    pub(super) fn succeeded(&self) {
        self.replica().state.succeeded();
    }

    /// The request failed, of which the replica may be the cause.
    pub(super) fn failed(&self, fault: &Fault) {
        let (state, now) = (&self.replica().state, self.replicas.now());
        match fault.class {
            ErrorClass::Connect => state.unreachable(now),
            ErrorClass::Throttled | ErrorClass::ModelNotReady => state.busy(now, fault.retry_after),
            ErrorClass::Unavailable
            | ErrorClass::Internal
            | ErrorClass::ModelTimeout
            | ErrorClass::ModelError
            | ErrorClass::ConnectionLost
            | ErrorClass::FirstTokenTimeout
            | ErrorClass::IdleTimeout
            | ErrorClass::TotalTimeout
            | ErrorClass::Malformed
            | ErrorClass::EmptyAnswer
            | ErrorClass::MissingEnd
            | ErrorClass::MalformedOutput => state.failed(now),
            // The request, or what the operator wrote, is at fault.
            ErrorClass::NoRoomCounted
            | ErrorClass::QuotaExceeded
            | ErrorClass::InvalidRequest
            | ErrorClass::ContextTooLong
            | ErrorClass::AccessDenied
            | ErrorClass::Credentials
            | ErrorClass::NotFound => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.replica().state.end();
    }
}

#[cfg(test)]
mod tests;

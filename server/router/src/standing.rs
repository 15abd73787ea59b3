//! What the router remembers: of each backend, of each route, of sessions. It outlives a change of the config.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spillway_types::Usd;

use crate::breaker::Breaker;
use crate::sessions::Sessions;
use crate::spend::SpendBucket;
use crate::{BackendId, BreakerSettings, RouteId};

/// Weight of a new measurement among the old ones.
const NEW_WEIGHT: f64 = 0.2;

/// Everything that is remembered. Hand the same one to a new router to keep it.
#[derive(Debug, Default)]
pub struct Memory {
    backends: Mutex<HashMap<BackendId, (BreakerSettings, Arc<Standing>)>>,
    routes: Mutex<HashMap<RouteId, Arc<RouteState>>>,
    spend: Mutex<Option<(Option<Usd>, Arc<SpendBucket>)>>,
    pub(crate) sessions: Sessions,
    /// Copies under way.
    pub(crate) num_copies: AtomicUsize,
}

/// What is remembered of a backend.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) breaker: Arc<Breaker>,
    /// Bits of the mean time to the first content, in seconds; 0 before the first.
    ttft: AtomicU64,
    /// Prompt tokens of requests that were sent there and have no first content yet.
    waiting_tokens: AtomicU64,
}

/// A request among those that wait for their first content. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    standing: Arc<Standing>,
    tokens: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.standing.waiting_tokens.fetch_sub(self.tokens, Relaxed);
    }
}

/// What is remembered of a route.
#[derive(Debug, Default)]
pub(crate) struct RouteState {
    /// Whether its requests overflow now.
    pub(crate) is_overflowing: AtomicBool,
}

impl Memory {
    /// The backend's standing; a breaker of other settings begins anew.
    pub(crate) fn standing(&self, id: &BackendId, settings: &BreakerSettings) -> Arc<Standing> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((old, standing)) = backends.get(id)
            && old == settings
        {
            return Arc::clone(standing);
        }
        let standing = Arc::new(Standing {
            breaker: Breaker::new(*settings),
            ttft: AtomicU64::new(0),
            waiting_tokens: AtomicU64::new(0),
        });
        backends.insert(id.clone(), (*settings, Arc::clone(&standing)));
        standing
    }

    pub(crate) fn route(&self, id: &RouteId) -> Arc<RouteState> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(id.clone()).or_default())
    }

    pub(crate) fn spend(&self, per_minute: Option<Usd>, now: Duration) -> Arc<SpendBucket> {
        let mut spend = self.spend.lock().unwrap_or_else(PoisonError::into_inner);
        match &*spend {
            Some((old, bucket)) if *old == per_minute => Arc::clone(bucket),
            _ => {
                let bucket = Arc::new(SpendBucket::new(per_minute, now));
                *spend = Some((per_minute, Arc::clone(&bucket)));
                bucket
            }
        }
    }
}

impl Standing {
    /// The time to the first content as measured lately.
    pub(crate) fn ttft(&self) -> Option<Duration> {
        let seconds = f64::from_bits(self.ttft.load(Relaxed));
        (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }

    /// Counts a request from now on among those that wait: the next decision sees it before the engine does.
    pub(crate) fn wait(self: &Arc<Self>, tokens: u32) -> Waiting {
        let tokens = u64::from(tokens);
        self.waiting_tokens.fetch_add(tokens, Relaxed);
        Waiting { standing: Arc::clone(self), tokens }
    }

    /// Prompt tokens of the requests that wait.
    pub(crate) fn waiting_tokens(&self) -> u64 {
        self.waiting_tokens.load(Relaxed)
    }

    /// Takes in a measurement. Two at once may lose one, which a mean bears.
    pub(crate) fn measured(&self, ttft: Duration) {
        let old = f64::from_bits(self.ttft.load(Relaxed));
        let new = ttft.as_secs_f64().max(f64::MIN_POSITIVE);
        let mean = if old > 0.0 { old + (new - old) * NEW_WEIGHT } else { new };
        self.ttft.store(mean.to_bits(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RouterSettings;

    #[test]
    fn a_backend_keeps_its_standing_until_its_settings_change() {
        let memory = Memory::default();
        let settings = RouterSettings::default().breaker;
        let id = BackendId::new("far");
        memory.standing(&id, &settings).measured(Duration::from_secs(2));
        assert_eq!(memory.standing(&id, &settings).ttft(), Some(Duration::from_secs(2)));
        let other = BreakerSettings { min_calls: 3, ..settings };
        assert_eq!(memory.standing(&id, &other).ttft(), None);
    }

    #[test]
    fn measurements_move_the_mean_by_a_fifth() {
        let standing = Memory::default().standing(&BackendId::new("far"), &RouterSettings::default().breaker);
        standing.measured(Duration::from_secs(1));
        standing.measured(Duration::from_secs(2));
        assert_eq!(standing.ttft(), Some(Duration::from_millis(1200)));
    }
}

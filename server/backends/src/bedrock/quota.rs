//! The tokens a minute that an account has for a model, counted here before Bedrock counts them.
//!
//! Bedrock takes the prompt and all that may be generated out of the minute's quota when a call begins, and puts back
//! what was not used at its end. This ledger does the same over a sliding minute, so that a call that would be throttled
//! is not even sent. It knows nothing of other users of the account: Bedrock has the last word.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spillway_engine::Clock;

/// What the quota is counted over.
const WINDOW: Duration = Duration::from_mins(1);

/// The quota of one target.
pub(super) struct TokenQuota {
    limit: u64,
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    next_id: u64,
    /// Oldest first; none older than the window, after [`Ledger::forget`].
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    at: Duration,
    tokens: u64,
}

/// Tokens that a call has taken out. Dropped as it is, they stay taken.
pub(super) struct Reservation {
    quota: Arc<TokenQuota>,
    id: u64,
}

/// There are not enough tokens left in this minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub(super) wanted: u64,
    pub(super) left: u64,
    pub(super) limit: u64,
    /// When there are enough; never, if the call wants more than there is.
    pub(super) retry_after: Option<Duration>,
}

impl TokenQuota {
    pub(super) fn new(limit: NonZeroU64, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { limit: limit.get(), clock, ledger: Mutex::default() })
    }

    /// Takes tokens out for a call that begins now.
    pub(super) fn reserve(self: &Arc<Self>, tokens: u64) -> Result<Reservation, Exhausted> {
        let now = self.clock.now();
        let mut ledger = self.lock();
        ledger.forget(now);
        let taken: u64 = ledger.entries.iter().map(|entry| entry.tokens).sum();
        let left = self.limit.saturating_sub(taken);
        if tokens > left {
            let retry_after = (tokens <= self.limit).then(|| ledger.wait(now, tokens - left));
            return Err(Exhausted { wanted: tokens, left, limit: self.limit, retry_after });
        }
        let id = ledger.next_id;
        ledger.next_id += 1;
        ledger.entries.push_back(Entry { id, at: now, tokens });
        Ok(Reservation { quota: Arc::clone(self), id })
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn forget(&mut self, now: Duration) {
        while self.entries.front().is_some_and(|entry| entry.at + WINDOW <= now) {
            self.entries.pop_front();
        }
    }

    /// How long until `missing` tokens have left the window.
    fn wait(&self, now: Duration, missing: u64) -> Duration {
        let mut freed = 0;
        for entry in &self.entries {
            freed += entry.tokens;
            if freed >= missing {
                return (entry.at + WINDOW).saturating_sub(now);
            }
        }
        WINDOW
    }
}

impl Reservation {
    /// Puts back what was not used.
    pub(super) fn settle(self, used_tokens: u64) {
        let mut ledger = self.quota.lock();
        if let Some(entry) = ledger.entries.iter_mut().find(|entry| entry.id == self.id) {
            entry.tokens = used_tokens;
        }
    }

    /// Puts everything back: Bedrock did not take the call.
    pub(super) fn release(self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Seconds(AtomicU64);

    impl Clock for Seconds {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Relaxed))
        }
    }

    fn quota(limit: u64) -> (Arc<Seconds>, Arc<TokenQuota>) {
        let clock = Arc::new(Seconds::default());
        let limit = NonZeroU64::new(limit).expect("it is not zero");
        (Arc::clone(&clock), TokenQuota::new(limit, clock))
    }

    #[test]
    fn what_a_call_may_use_is_taken_out_and_what_it_did_not_use_put_back() {
        let (_, quota) = quota(1000);
        let first = quota.reserve(900).expect("there is room");
        assert!(quota.reserve(200).is_err());
        first.settle(100);
        let second = quota.reserve(900).expect("there is room again");
        second.release();
        assert!(quota.reserve(900).is_ok());
    }

    #[test]
    fn a_call_is_told_when_enough_tokens_have_left_the_window() {
        let (clock, quota) = quota(1000);
        let _first = quota.reserve(300);
        clock.0.store(20, Relaxed);
        let _second = quota.reserve(600);
        clock.0.store(30, Relaxed);
        let wait = |wanted| quota.reserve(wanted).err().expect("there is no room").retry_after;
        // 100 are left: the first entry leaves at 60 s, the second at 80 s.
        assert_eq!(wait(400), Some(Duration::from_secs(30)));
        assert_eq!(wait(401), Some(Duration::from_secs(50)));
        assert_eq!(wait(1001), None);
        clock.0.store(60, Relaxed);
        assert!(quota.reserve(400).is_ok());
    }
}

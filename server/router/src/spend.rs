//! How much may be spent on overflow: a bucket that fills by the minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spillway_types::Usd;

/// Fills at a minute's allowance a minute and holds at most that much.
#[derive(Debug)]
pub(crate) struct SpendBucket {
    per_minute: Option<Usd>,
    level: Mutex<(Duration, u64)>,
}

impl SpendBucket {
    /// A full one; without an allowance there is no limit.
    pub(crate) fn new(per_minute: Option<Usd>, now: Duration) -> Self {
        Self { per_minute, level: Mutex::new((now, per_minute.map_or(0, Usd::nanos))) }
    }

    /// Whether `amount` could be taken now.
    pub(crate) fn has(&self, amount: Usd, now: Duration) -> bool {
        self.per_minute.is_none_or(|per_minute| self.level_at(per_minute, now) >= amount.nanos())
    }

    /// Takes `amount`, if it is there.
    pub(crate) fn take(&self, amount: Usd, now: Duration) -> bool {
        let Some(per_minute) = self.per_minute else { return true };
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = fill(*level, per_minute, now).checked_sub(amount.nanos()) else { return false };
        *level = (now.max(level.0), left);
        true
    }

    /// Gives back what was taken and not spent.
    pub(crate) fn give_back(&self, amount: Usd) {
        if let Some(per_minute) = self.per_minute {
            let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
            level.1 = level.1.saturating_add(amount.nanos()).min(per_minute.nanos());
        }
    }

    fn level_at(&self, per_minute: Usd, now: Duration) -> u64 {
        fill(*self.level.lock().unwrap_or_else(PoisonError::into_inner), per_minute, now)
    }
}

fn fill((at, level): (Duration, u64), per_minute: Usd, now: Duration) -> u64 {
    let passed = now.saturating_sub(at).as_millis();
    let added = u128::from(per_minute.nanos()) * passed / 60_000;
    u64::try_from(u128::from(level) + added).unwrap_or(u64::MAX).min(per_minute.nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_a_minutes_allowance_and_fills_again() {
        let dollar = Usd::from_nanos(Usd::NANOS_PER_DOLLAR);
        let half = Usd::from_nanos(Usd::NANOS_PER_DOLLAR / 2);
        let bucket = SpendBucket::new(Some(dollar), Duration::ZERO);
        assert!(bucket.take(half, Duration::ZERO) && bucket.take(half, Duration::ZERO));
        assert!(!bucket.take(half, Duration::from_secs(29)));
        assert!(bucket.has(half, Duration::from_secs(30)) && bucket.take(half, Duration::from_secs(30)));
        bucket.give_back(half);
        assert!(bucket.take(half, Duration::from_secs(30)));
        assert!(!bucket.take(dollar + half, Duration::from_mins(10)), "it holds one minute's");
    }

    #[test]
    fn without_an_allowance_there_is_no_limit() {
        assert!(SpendBucket::new(None, Duration::ZERO).take(Usd::from_nanos(u64::MAX), Duration::ZERO));
    }
}

//! How fast requests end, for telling clients when to come back.

use std::time::Duration;

/// Seconds over which the rate is averaged.
const RATE_WINDOW_SECS: f64 = 60.0;

/// Ended sequences per second, averaged with exponentially fading weights.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    per_second: f64,
    total: u64,
    at: Duration,
}

impl Rate {
    /// Learns how many sequences have ended since start.
    pub(crate) fn observe(&mut self, now: Duration, total: u64) {
        let ended = total.saturating_sub(self.total);
        self.per_second = self.per_second(now) + ended as f64 / RATE_WINDOW_SECS;
        (self.total, self.at) = (total, now);
    }

    pub(crate) fn per_second(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.at).as_secs_f64();
        self.per_second * (-age / RATE_WINDOW_SECS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_with_ends_and_fades_without() {
        let mut rate = Rate::default();
        rate.observe(Duration::from_secs(1), 60);
        assert!((rate.per_second(Duration::from_secs(1)) - 1.0).abs() < 1e-9);
        let faded = rate.per_second(Duration::from_secs(61));
        assert!((faded - (-1.0_f64).exp()).abs() < 1e-9, "{faded}");
    }
}

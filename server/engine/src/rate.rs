//! How fast requests end and tokens are computed: for telling clients when to come back, and the router where to send.

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

/// Tokens per second of the time that was spent on them, with exponentially fading weights.
///
/// It claims nothing before it has seen anything, and it forgets by time spent, not by time passed: what an idle engine
/// was once seen to do stays the best guess.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    tokens: f64,
    seconds: f64,
}

impl Throughput {
    /// Learns that computing so many tokens took so long.
    pub(crate) fn observe(&mut self, num_tokens: u32, took: Duration) {
        let took = took.as_secs_f64();
        let kept = (-took / RATE_WINDOW_SECS).exp();
        self.tokens = self.tokens * kept + f64::from(num_tokens);
        self.seconds = self.seconds * kept + took;
    }

    /// The rate, once there is one.
    pub(crate) fn per_second(&self) -> Option<f64> {
        (self.tokens > 0.0 && self.seconds > 0.0).then(|| self.tokens / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_unknown_at_first_and_then_follows_what_is_seen() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.per_second(), None);
        throughput.observe(0, Duration::from_secs(1));
        assert_eq!(throughput.per_second(), None, "nothing computed is nothing known");
        let mut throughput = Throughput::default();
        throughput.observe(100, Duration::from_secs(1));
        throughput.observe(300, Duration::from_secs(1));
        let rate = throughput.per_second().expect("it was seen");
        assert!((200.0..203.0).contains(&rate), "the later counts a little more: {rate}");
        for _ in 0..600 {
            throughput.observe(50, Duration::from_secs(1));
        }
        let rate = throughput.per_second().expect("it was seen");
        assert!((rate - 50.0).abs() < 0.1, "the old is forgotten: {rate}");
    }

    #[test]
    fn rate_rises_with_ends_and_fades_without() {
        let mut rate = Rate::default();
        rate.observe(Duration::from_secs(1), 60);
        assert!((rate.per_second(Duration::from_secs(1)) - 1.0).abs() < 1e-9);
        let faded = rate.per_second(Duration::from_secs(61));
        assert!((faded - (-1.0_f64).exp()).abs() < 1e-9, "{faded}");
    }
}

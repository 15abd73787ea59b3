//! Time, injected, so that simulations can run on their own.

use std::time::{Duration, Instant};

/// Tells the time since some fixed moment. It never goes back.
pub trait Clock: Send + Sync {
    /// Time since the clock's start.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock, starting at zero when it is made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place where the real clock enters the engine")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

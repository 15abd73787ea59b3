//! A clock that stands still until it is told to go on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use spillway_engine::Clock;

/// Time for engines under test. It starts at zero.
#[derive(Debug, Default)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.micros.fetch_add(by.as_micros() as u64, Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Relaxed))
    }
}

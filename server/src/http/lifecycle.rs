//! Whether the server is closing, and how many requests are still in flight.

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Shared by the service and whoever closes it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    draining: CancellationToken,
    cut_off: CancellationToken,
    in_flight: TaskTracker,
}

impl Lifecycle {
    /// From now on, new work is refused.
    pub(crate) fn start_draining(&self) {
        self.draining.cancel();
        self.in_flight.close();
    }

    /// Whether new work is refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// From now on, answers under way are broken off with an error.
    pub(crate) fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Ends when answers under way are to be broken off.
    pub(crate) fn until_cut_off(&self) -> WaitForCancellationFutureOwned {
        self.cut_off.clone().cancelled_owned()
    }

    /// Whether no request is in flight now.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Held by a request until its last byte is sent or its client is gone.
    pub(crate) fn in_flight(&self) -> TaskTrackerToken {
        self.in_flight.token()
    }

    /// Ends when the server is draining and no request is in flight.
    pub(crate) async fn drained(&self) {
        self.in_flight.wait().await;
    }
}

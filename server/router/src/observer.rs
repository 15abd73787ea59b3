//! Who is told what the router does: for logs and metrics.

use std::time::Duration;

use crate::{BackendError, BackendId, Call, CallEnd, Decision, Reason, RouteRequest};

/// Hears of everything that the router does. Called in the way of requests, so it never waits.
pub trait Observer: Send + Sync {
    /// A request was decided about.
    fn decided(&self, request: &RouteRequest, decision: &Decision);

    /// An attempt came to nothing.
    fn attempt_failed(&self, request: &RouteRequest, failure: &AttemptFailure<'_>);

    /// A call is over.
    fn ended(&self, call: &Call, end: &CallEnd, reason: Reason);
}

/// An attempt that came to nothing.
#[derive(Debug)]
pub struct AttemptFailure<'a> {
    /// Who was asked.
    pub backend: &'a BackendId,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Why it came to nothing.
    pub error: &'a BackendError,
    /// What happens next.
    pub next: NextStep,
}

/// What happens after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The same backend is asked again after this time.
    Retry(Duration),
    /// The next backend is asked, if there is one.
    FallBack,
    /// The client hears of it.
    GiveUp,
}

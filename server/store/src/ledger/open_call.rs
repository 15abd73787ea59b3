//! A call that was reserved and is not over.

use std::sync::Arc;

use super::call::{CallId, Outcome, Refund, Settlement};
use crate::queue::{Hurry, Queue};
use crate::time::UnixMs;
use crate::writer::Command;

/// A call that is charged at its reservation. It is closed once: by [`settle`](Self::settle), by
/// [`refund`](Self::refund), or by being dropped, which leaves it `unsettled` and charged.
///
/// Closing never waits and never fails for want of room: the call's place in the queue was taken by its reservation. The
/// end is written within milliseconds. A process that is killed before leaves the call charged at its reservation.
#[derive(Debug)]
#[must_use = "a call that is dropped stays charged at its reservation"]
pub struct OpenCall {
    id: CallId,
    if_dropped: IfDropped,
    queue: Arc<Queue<Command>>,
}

/// What becomes of a call that is dropped.
#[derive(Debug, Clone, Copy)]
enum IfDropped {
    /// It was never handed over, so it was never made.
    Refund {
        started_at: UnixMs,
    },
    GiveUp,
    /// It is closed.
    Nothing,
}

impl OpenCall {
    /// A call whose row is committed, and which nobody knows of yet.
    pub(crate) fn reserved(id: CallId, started_at: UnixMs, queue: Arc<Queue<Command>>) -> Self {
        Self { id, if_dropped: IfDropped::Refund { started_at }, queue }
    }

    /// The caller has it now, and may make the call.
    pub(super) fn handed_over(mut self) -> Self {
        self.if_dropped = IfDropped::GiveUp;
        self
    }

    /// Its number in the ledger.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The call is over and has its price.
    pub fn settle(mut self, settlement: Settlement) {
        self.if_dropped = IfDropped::Nothing;
        close(&self.queue, self.id, Command::Settle { id: self.id, settlement: Box::new(settlement) });
    }

    /// The call is over, and nobody has to pay for it.
    pub fn refund(mut self, refund: Refund) {
        self.if_dropped = IfDropped::Nothing;
        close(&self.queue, self.id, Command::Refund { id: self.id, refund: Box::new(refund) });
    }
}

/// Sends a call's end on its way. Its place in the queue was taken by its reservation.
fn close(queue: &Queue<Command>, id: CallId, end: Command) {
    if queue.push(end, Hurry::No).is_err() {
        tracing::warn!(call = %id, "the store closed before a call did: it stays charged at its reservation");
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        match self.if_dropped {
            IfDropped::Nothing => {}
            IfDropped::GiveUp => {
                tracing::warn!(call = %self.id, "a call was dropped unsettled: it stays charged at its reservation");
                close(&self.queue, self.id, Command::GiveUp { id: self.id });
            }
            IfDropped::Refund { started_at } => {
                let refund = Refund {
                    outcome: Outcome::Cancelled,
                    provider_request_id: None,
                    settled_at: started_at,
                    duration_ms: 0,
                };
                close(&self.queue, self.id, Command::Refund { id: self.id, refund: Box::new(refund) });
            }
        }
    }
}

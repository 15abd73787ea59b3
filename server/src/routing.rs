//! What the router is given of this process: time and tasks, the ledger, metrics and logs.

mod ledger;
mod observer;
mod runtime;

pub(crate) use ledger::{NoLedger, StoreLedger, UnixClock};
pub(crate) use observer::RouterMetrics;
pub(crate) use runtime::{TaskOwner, TokioRuntime};

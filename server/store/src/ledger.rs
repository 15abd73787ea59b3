//! The ledger of calls: what each call of a backend may cost, before it is made, and what it did cost.
//!
//! A call that costs something is *reserved* first: [`Ledger::reserve`] returns when its row is committed, so that a
//! killed process can never have spent what no row tells of. Its [`OpenCall`] is then *settled* or *refunded*, once,
//! without waiting. A call that costs nothing is recorded when it is over.
//!
//! # Invariants
//!
//! - A row's charge is its reservation until somebody knows better: a call that nobody closed, because its task was
//!   dropped or its process killed, becomes `unsettled` and stays charged.
//! - No row holds text of a prompt or an answer, or a client's key; only the key's name.
//!
//! In a request's path: between the router's choice and the call of a backend, and after its last event.

mod call;
mod open_call;
mod reader;
mod reports;
mod statements;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

pub use call::{Call, CallId, CallRow, CallState, FinishedCall, Outcome, Refund, Reservation, Settlement};
pub use open_call::OpenCall;
pub use reader::LedgerReader;
pub use reports::{OpenReservations, Projection, Savings, Spend, SpendBy, TimeRange};
pub(crate) use statements::Statements;

use crate::error::StoreError;
use crate::queue::{Hurry, Queue};
use crate::time::UnixMs;
use crate::writer::Command;

/// Rows that are deleted in one transaction, so that no reservation waits long behind it.
const PRUNED_AT_ONCE: u32 = 2000;

/// The ledger of an open store. Cheap to clone; clones are the same ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    queue: Arc<Queue<Command>>,
    reader: Arc<Mutex<LedgerReader>>,
}

impl Ledger {
    pub(crate) fn new(queue: Arc<Queue<Command>>, reader: LedgerReader) -> Self {
        Self { queue, reader: Arc::new(Mutex::new(reader)) }
    }

    /// Charges a call with the most that it can cost, and returns when that is committed.
    ///
    /// A caller who stops waiting makes no call, so the reservation is refunded.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] at once if too many calls are open or not yet written; [`StoreError::Failed`] if the row
    /// could not be written, [`StoreError::Closed`] after the store was closed. Then the call must not be made.
    pub async fn reserve(&self, reservation: Reservation) -> Result<OpenCall, StoreError> {
        self.queue.take_place()?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Reserve { reservation: Box::new(reservation), reply };
        self.push_with_place(command, Hurry::Yes)?;
        let call = answer.await.map_err(|_| StoreError::Closed)??;
        Ok(call.handed_over())
    }

    /// Writes down a call that is over and needed no reservation. Does not wait: it is written within milliseconds,
    /// together with others.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if too many calls are open or not yet written, [`StoreError::Closed`] after the store was
    /// closed. Then there will be no row.
    pub fn record(&self, finished: FinishedCall) -> Result<(), StoreError> {
        self.queue.take_place()?;
        self.push_with_place(Command::Record { finished: Box::new(finished) }, Hurry::No)
    }

    /// Returns when all that was settled, refunded or recorded before is committed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it could not be written; it will be tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Command::Flush { reply }, Hurry::Yes)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Deletes the calls that began before a moment, and tells how many. Open calls stay, and so does the newest one.
    ///
    /// Sums over that time are lost with them: keep what a projection or a bill still needs.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if a part could not be deleted; the parts before it are.
    pub async fn prune(&self, before: UnixMs) -> Result<u64, StoreError> {
        let mut num_pruned = 0;
        loop {
            let (reply, answer) = oneshot::channel();
            self.queue.push(Command::Prune { before, limit: PRUNED_AT_ONCE, reply }, Hurry::Yes)?;
            let num_rows = answer.await.map_err(|_| StoreError::Closed)??;
            num_pruned += num_rows;
            if num_rows < u64::from(PRUNED_AT_ONCE) {
                return Ok(num_pruned);
            }
        }
    }

    /// Asks the ledger something, on a thread where waiting for the disk disturbs nobody.
    ///
    /// Answers tell of what is committed: [`flush`](Self::flush) first where that matters.
    ///
    /// # Errors
    ///
    /// Whatever the query gives; [`StoreError::Closed`] if the runtime is shutting down.
    pub async fn read<T, Q>(&self, query: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(&LedgerReader) -> Result<T, StoreError> + Send + 'static,
    {
        let reader = Arc::clone(&self.reader);
        let asked = tokio::task::spawn_blocking(move || {
            // A query that panicked left nothing half done in the connection.
            query(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        asked.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        })
    }

    fn push_with_place(&self, command: Command, hurry: Hurry) -> Result<(), StoreError> {
        self.queue.push(command, hurry).inspect_err(|_| self.queue.give_places(1))
    }
}

#[cfg(test)]
mod tests;

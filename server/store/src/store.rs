//! The store: one file, one writer, and what is kept in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::database::{self, Location};
use crate::error::StoreError;
use crate::ledger::{Ledger, LedgerReader, OpenReservations};
use crate::queue::Queue;
use crate::writer;

/// Where durable state is kept, and how much of it may be on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The file. A lock, and two files of SQLite's, are made beside it.
    pub path: PathBuf,
    /// Most calls that are open or not yet written. Beyond it a call is refused, rather than kept in memory.
    pub max_pending: u32,
}

impl StoreConfig {
    /// Room for more calls at a time than one server makes: a pending one takes about a kilobyte.
    pub const DEFAULT_MAX_PENDING: u32 = 16_384;

    /// A store in this file, with the usual limit.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_pending: Self::DEFAULT_MAX_PENDING }
    }
}

/// Durable state, open. Owns the thread that writes: closing or dropping the store waits until all is written.
#[derive(Debug)]
pub struct Store {
    ledger: Ledger,
    queue: Arc<Queue<writer::Command>>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    unsettled: OpenReservations,
    /// Held as long as the writer runs: declared last, so that it goes last.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store, or makes it if there is no file. Calls that an earlier process left open become `unsettled` and
    /// stay charged at their reservation.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if another process has it open; [`StoreError::Corrupt`], [`StoreError::Foreign`] and
    /// [`StoreError::TooNew`] if the file is not one that this program can use; [`StoreError::Unreachable`] if it cannot
    /// be opened at all.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let lock = database::lock(&config.path)?;
        Self::start(
            Arc::new(Queue::new(config.max_pending)),
            &Location::File(config.path.clone()),
            Some(lock),
        )
    }

    /// A store that is gone when it is closed: for tests, and for servers that shall remember nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if there is not enough memory.
    pub fn in_memory(max_pending: u32) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(max_pending));
        // The queue's address is nobody else's as long as the store is open, so it makes a name without a global count.
        let location = Location::Memory(format!("spillway-store-{:p}", Arc::as_ptr(&queue)));
        Self::start(queue, &location, None)
    }

    /// The ledger of calls.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// The calls that an earlier process left open, and what they stay charged.
    pub fn found_open(&self) -> OpenReservations {
        self.unsettled
    }

    /// Writes what is on its way, and closes. What is asked of the ledger afterwards is refused.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if something could not be written, even at last. It has been logged how much.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end_writer()
    }

    fn start(
        queue: Arc<Queue<writer::Command>>,
        location: &Location,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let path = location.path();
        let connection = database::open_writer(location)?;
        let for_checkpoints = database::open_for_checkpoints(location)?;
        let unsettled = mark_unsettled(&connection, path)?;
        let ledger = Ledger::new(Arc::clone(&queue), LedgerReader::at(location)?);
        let thread_queue = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&connection, for_checkpoints, &thread_queue))
            .map_err(|source| StoreError::unreachable(path, source))?;
        Ok(Self { ledger, queue, writer: Some(writer), unsettled, _lock: lock })
    }

    fn end_writer(&mut self) -> Result<(), StoreError> {
        self.queue.close();
        match self.writer.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                tracing::error!("the thread that writes the store panicked");
                Err(StoreError::Closed)
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The writer has logged whatever it could not write.
        drop(self.end_writer());
    }
}

/// Calls that are open while nobody writes were left so by a process that is gone.
fn mark_unsettled(connection: &Connection, path: &Path) -> Result<OpenReservations, StoreError> {
    let at_open = |source| StoreError::at_open(path, "look for open calls", source);
    let open = "SELECT count(*), coalesce(sum(reserved_nanos), 0) FROM calls WHERE state = 'open'";
    let (num_calls, nanos): (i64, i64) =
        connection.query_row(open, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(at_open)?;
    let found = OpenReservations {
        num_calls: num_calls as u64,
        reserved: spillway_types::Usd::from_nanos(nanos as u64),
    };
    if found.num_calls > 0 {
        connection
            .execute("UPDATE calls SET state = 'unsettled' WHERE state = 'open'", [])
            .map_err(at_open)?;
        tracing::warn!(
            num_calls = found.num_calls,
            charged_usd = %found.reserved,
            "an earlier process left calls open: they are unsettled now, and stay charged at their reservation"
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests;

//! What can go wrong with durable state, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the store did not open, read or write.
///
/// It can be cloned, because one failed transaction is told to everyone who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("the store `{}` is in use by another process: stop that one, or give this one a file of its own", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },

    /// The file cannot be reached.
    #[error("the store `{}` cannot be opened: {source}: check that its folder exists and may be written", path.display())]
    Unreachable {
        /// The store's file, or the lock beside it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },

    /// The file is broken, or was never a database.
    #[error("the store `{}` is no sound SQLite database: restore it from a copy, or move it away to begin anew", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },

    /// The file is a database of something else.
    #[error("`{}` is a database of another program: give the store a file of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// A later Spillway wrote the file.
    #[error("the store `{}` has version {found}, this program knows up to {known}: use a newer one", path.display())]
    TooNew {
        /// The store's file.
        path: PathBuf,
        /// The file's version.
        found: u32,
        /// The last version known here.
        known: u32,
    },

    /// An earlier Spillway wrote the file, or nobody did yet; to read it changes nothing, so it stays as it is.
    #[error("the store `{}` has version {found}, this program reads {known}: start the server with it once", path.display())]
    TooOld {
        /// The store's file.
        path: PathBuf,
        /// The file's version; 0 for an empty file.
        found: u32,
        /// The version that can be read here.
        known: u32,
    },

    /// Too many calls are open or not yet written.
    #[error("the ledger is full ({max_pending} calls open or not yet written): try again later")]
    Full {
        /// The limit.
        max_pending: u32,
    },

    /// An amount that the file cannot hold. Nobody pays nine thousand million dollars for a call.
    #[error("{nanos} nano-dollars are more than the ledger can hold ({})", i64::MAX)]
    AmountTooLarge {
        /// The amount.
        nanos: u64,
    },

    /// The call was settled, refunded or given up before.
    #[error("call {id} is not open: it can be closed only once")]
    NotOpen {
        /// The call's number.
        id: i64,
    },

    /// The store was closed, or its writer is gone.
    #[error("the store is closed")]
    Closed,

    /// SQLite refused. Nothing of the transaction was written.
    #[error("the store failed to {action}: {source}")]
    Failed {
        /// What was to be done.
        action: &'static str,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
}

impl StoreError {
    /// SQLite refused to do `action`.
    pub(crate) fn failed(action: &'static str, source: rusqlite::Error) -> Self {
        Self::Failed { action, source: Arc::new(source) }
    }

    /// SQLite refused to do `action` while the file was opened: a broken file is called so.
    pub(crate) fn at_open(path: &Path, action: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { path, source: Arc::new(source) }
            }
            Some(ErrorCode::CannotOpen) => {
                Self::Unreachable { path, source: Arc::new(io::Error::other(source)) }
            }
            _ => Self::failed(action, source),
        }
    }

    pub(crate) fn unreachable(path: &Path, source: io::Error) -> Self {
        Self::Unreachable { path: path.to_owned(), source: Arc::new(source) }
    }
}

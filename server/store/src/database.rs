//! Connections to the one file: who may open it, and how it is set.
//!
//! # Durability
//!
//! The file is in WAL mode with `synchronous = NORMAL`: a commit is in the operating system's hands when it is
//! acknowledged. So a process that is killed loses nothing that was committed. A machine that loses power may lose the
//! last moments, back to the last checkpoint at most, and never finds the file broken.
//!
//! # Invariants
//!
//! - One process writes: it holds the lock of a file beside the store, which the system gives back when the process
//!   ends, however it ends. The lock is not on the store itself, because closing that would drop SQLite's own locks.
//! - Nothing is written to a file that is not known to be ours.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::checkpoints::MAX_LOG_PAGES;
use crate::error::StoreError;
use crate::migrations;

/// Tells our files from those of other programs: "Spwy" in the header.
const APPLICATION_ID: i32 = 0x5370_7779;
/// How long to wait for somebody who holds the file for a moment, as a person with a shell may.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the database is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// In a file.
    File(PathBuf),
    /// In this process's memory, under a name: all connections to one name see the same.
    Memory(String),
}

impl Location {
    /// For messages.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory(name) => Path::new(name),
        }
    }
}

/// Takes the right to write to the store in `path`, until the returned file is closed.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file = owner_only()
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|source| StoreError::unreachable(&lock_path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::unreachable(&lock_path, source)),
    }
}

/// Opens the database for its one writer, and makes or migrates it where needed.
pub(crate) fn open_writer(location: &Location) -> Result<Connection, StoreError> {
    let at_open = |action| move |source| StoreError::at_open(location.path(), action, source);
    if let Location::File(path) = location {
        create(path)?;
    }
    let mut connection =
        connect(location, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    identify(&connection, location.path())?;
    set_durable(&connection, location).map_err(at_open("set up write-ahead logging"))?;
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(at_open("mark its file"))?;
    migrations::migrate(&mut connection, &migrations::ALL).map_err(at_open("migrate its file"))?;
    Ok(connection)
}

/// Opens a connection for checkpoints beside the writer's, where there is a log to move into the file.
pub(crate) fn open_for_checkpoints(location: &Location) -> Result<Option<Connection>, StoreError> {
    match location {
        Location::File(_) => connect(location, OpenFlags::SQLITE_OPEN_READ_WRITE).map(Some),
        Location::Memory(_) => Ok(None),
    }
}

/// Opens the database to be read, beside the writer or without one.
pub(crate) fn open_reader(location: &Location) -> Result<Connection, StoreError> {
    let flags = match location {
        Location::File(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Location::Memory(_) => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = connect(location, flags)?;
    let found = identify(&connection, location.path())?;
    let known = migrations::latest();
    if found < known {
        return Err(StoreError::TooOld { path: location.path().to_owned(), found, known });
    }
    Ok(connection)
}

fn connect(location: &Location, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match location {
        Location::File(path) => Connection::open_with_flags(path, flags),
        Location::Memory(name) => {
            let uri = format!("file:/{name}?vfs=memdb");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        }
    };
    let connection =
        connection.map_err(|source| StoreError::at_open(location.path(), "open its file", source))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|source| StoreError::at_open(location.path(), "set its timeout", source))?;
    Ok(connection)
}

/// Makes an empty file that only its owner may read: the ledger says who asked for what, and when. An existing file is
/// left alone.
fn create(path: &Path) -> Result<(), StoreError> {
    match owner_only().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::unreachable(path, source)),
    }
}

fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// The version of a file that is of this program, and of no later version of it. An empty file has version 0.
fn identify(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let at_open = |source| StoreError::at_open(path, "read its file's header", source);
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(at_open)?;
    let num_tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(at_open)?;
    if application_id != APPLICATION_ID && (application_id != 0 || num_tables > 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = migrations::version(connection).map_err(at_open)?;
    let known = migrations::latest();
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn set_durable(connection: &Connection, location: &Location) -> rusqlite::Result<()> {
    if let Location::File(_) = location {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
            let mode: String = row.get(0)?;
            if mode == "wal" { Ok(()) } else { Err(rusqlite::Error::InvalidParameterName(mode)) }
        })?;
    }
    connection.pragma_update(None, "wal_autocheckpoint", MAX_LOG_PAGES)?;
    connection.pragma_update(None, "synchronous", "normal")
}

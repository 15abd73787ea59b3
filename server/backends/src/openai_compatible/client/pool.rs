//! Connections that wait for their next request, the last used first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// Connections that are kept. More may be open at a time.
const MAX_IDLE: usize = 256;

/// Free connections to one address.
pub(super) struct Pool {
    /// In the order in which they became free.
    idle: Mutex<Vec<Idle>>,
    /// For how long one is kept.
    max_idle: Duration,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(max_idle: Duration) -> Self {
        Self { idle: Mutex::default(), max_idle }
    }

    /// One that is still open, if there is any.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.idle().pop()?;
            if since.elapsed() < self.max_idle && connection.is_free() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer has been read to its end; one that is not open any more is dropped.
    pub(super) fn keep(&self, mut connection: Connection) {
        if !connection.is_free() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes those that have been free for too long.
    pub(super) fn sweep(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < self.max_idle);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

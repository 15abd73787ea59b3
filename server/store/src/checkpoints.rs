//! Moves what was committed from the log into the file, on a thread of its own, so that no reservation waits for a disk.
//!
//! A checkpoint makes the disk sync twice, tens of milliseconds on a busy one. SQLite would do it inside some unlucky
//! commit. Here the writer only says that one is due. Under a load without any pause the log may never be found at rest,
//! so it is never begun anew: then the writer does it after all, once in [`MAX_LOG_PAGES`].

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;

/// The log's length at which the writer itself makes a checkpoint: 64 MiB of pages.
pub(crate) const MAX_LOG_PAGES: u32 = 16_384;
/// Commands after which a checkpoint is due. Each changes six pages or so, if it is alone in its transaction.
const COMMANDS_PER_CHECKPOINT: usize = 1000;

/// The writer's end: counts what was written.
#[derive(Debug)]
pub(crate) struct CheckpointCount {
    due: SyncSender<()>,
    num_commands: usize,
}

/// The other end: told when a checkpoint is due, until the writer is gone.
#[derive(Debug)]
pub(crate) struct CheckpointsDue(Receiver<()>);

/// Both ends.
pub(crate) fn channel() -> (CheckpointCount, CheckpointsDue) {
    let (due, receiver) = sync_channel(1);
    (CheckpointCount { due, num_commands: 0 }, CheckpointsDue(receiver))
}

impl CheckpointCount {
    /// So many commands were committed.
    pub(crate) fn add(&mut self, num_commands: usize) {
        self.num_commands += num_commands;
        if self.num_commands >= COMMANDS_PER_CHECKPOINT {
            self.num_commands = 0;
            // An error means that one is due already: it will see these commands, too.
            let _already_due = self.due.try_send(());
        }
    }
}

/// Makes checkpoints whenever they are due, on a connection of its own. Returns when the writer is gone.
pub(crate) fn run(connection: &Connection, due: &CheckpointsDue) {
    while due.0.recv().is_ok() {
        // Never waits for the writer or for readers: what they hold is left for the next time.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the store could not make a checkpoint: its log grows");
        }
    }
}

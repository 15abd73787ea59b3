//! The one thread that writes: takes all that waits, writes it in one transaction, and tells everyone.
//!
//! # Invariants
//!
//! - Whoever waits is told only after the commit, and of a failure at once.
//! - What nobody waits for is never lost to a failure: it is tried again, with its place in the queue taken, until the
//!   store closes. A fault that lasts therefore ends in [`StoreError::Full`], not in memory.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::checkpoints::{self, CheckpointCount};
use crate::error::StoreError;
use crate::ledger::{CallId, FinishedCall, OpenCall, Refund, Reservation, Settlement, Statements};
use crate::queue::{Hurry, Queue, Taken};
use crate::time::UnixMs;

/// How long after a failure what could not be written is tried again, if nothing else comes.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Command {
    Reserve {
        reservation: Box<Reservation>,
        reply: oneshot::Sender<Result<OpenCall, StoreError>>,
    },
    Settle {
        id: CallId,
        settlement: Box<Settlement>,
    },
    Refund {
        id: CallId,
        refund: Box<Refund>,
    },
    /// Nobody will tell how the call ended.
    GiveUp {
        id: CallId,
    },
    Record {
        finished: Box<FinishedCall>,
    },
    Prune {
        before: UnixMs,
        limit: u32,
        reply: oneshot::Sender<Result<u64, StoreError>>,
    },
    /// Nothing, but whoever waits for it knows that all before it is written.
    Flush {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// What a statement gives: the new row's number for a reservation, else how many rows were changed.
type Figure = i64;

/// Writes until the queue is closed and empty. The error is the last one, if something could not be written at all.
///
/// A store in a file brings a second connection, on which checkpoints are made beside the writing.
pub(crate) fn run(
    connection: &Connection,
    for_checkpoints: Option<Connection>,
    queue: &Arc<Queue<Command>>,
) -> Result<(), StoreError> {
    let _closing = Closing { queue };
    let (count, due) = checkpoints::channel();
    let result = std::thread::scope(|scope| {
        if let Some(for_checkpoints) = for_checkpoints {
            scope.spawn(move || checkpoints::run(&for_checkpoints, &due));
        }
        // It owns the count, whose end ends the other thread.
        write_all(connection, count, queue)
    });
    // Readers may be in the way, then the next writer does it. Nothing is lost without it.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::debug!(%error, "the store could not be tidied up at its end");
    }
    result
}

fn write_all(
    connection: &Connection,
    count: CheckpointCount,
    queue: &Arc<Queue<Command>>,
) -> Result<(), StoreError> {
    let prepared = Statements::prepare(connection);
    let statements = prepared.map_err(|source| StoreError::failed("prepare its statements", source))?;
    let mut writer = Writer { statements, count, queue };
    let mut pending = Vec::new();
    loop {
        let patience = (!pending.is_empty()).then_some(RETRY_PAUSE);
        let taken = queue.take(&mut pending, patience);
        let written = writer.write(&mut pending);
        if taken == Taken::Last {
            let num_lost = pending.len();
            if num_lost > 0 {
                tracing::error!(num_lost, "the store closes with calls that it could not write");
            }
            return written;
        }
    }
}

/// Lets nobody wait for a writer that is gone, however it went.
struct Closing<'q> {
    queue: &'q Queue<Command>,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.queue.close();
        self.queue.take(&mut Vec::new(), None);
    }
}

struct Writer<'c> {
    statements: Statements<'c>,
    count: CheckpointCount,
    queue: &'c Arc<Queue<Command>>,
}

impl Writer<'_> {
    /// Writes all of `pending` in one transaction. What is left in there is to be tried again.
    fn write(&mut self, pending: &mut Vec<Command>) -> Result<(), StoreError> {
        if pending.is_empty() {
            return Ok(());
        }
        match self.transact(pending) {
            Ok(results) => {
                self.count.add(results.len());
                for (command, result) in pending.drain(..).zip(results) {
                    self.acknowledge(command, result);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, num_commands = pending.len(), "the store could not write");
                let refused = pending.extract_if(.., |command| command.is_waited_for());
                for command in refused {
                    self.acknowledge(command, Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// The results of all commands, if they could be committed. A command that is wrong by itself does not keep the
    /// others from being written.
    fn transact(&mut self, commands: &[Command]) -> Result<Vec<Result<Figure, StoreError>>, StoreError> {
        let failed = |source| StoreError::failed("begin a transaction", source);
        self.statements.begin().map_err(failed)?;
        let mut results = Vec::with_capacity(commands.len());
        for command in commands {
            let result = self.apply(command);
            if let Err(error) = &result
                && (!self.statements.is_in_transaction() || concerns_all(error))
            {
                self.statements.roll_back();
                return Err(error.clone());
            }
            results.push(result);
        }
        match self.statements.commit() {
            Ok(()) => Ok(results),
            Err(source) => {
                self.statements.roll_back();
                Err(StoreError::failed("commit a transaction", source))
            }
        }
    }

    fn apply(&mut self, command: &Command) -> Result<Figure, StoreError> {
        let statements = &mut self.statements;
        match command {
            Command::Reserve { reservation, .. } => statements.reserve(reservation),
            Command::Settle { id, settlement } => statements.settle(*id, settlement),
            Command::Refund { id, refund } => statements.refund(*id, refund),
            Command::GiveUp { id } => statements.give_up(*id),
            Command::Record { finished } => statements.record(finished),
            Command::Prune { before, limit, .. } => statements.prune(*before, *limit),
            Command::Flush { .. } => Ok(0),
        }
    }

    /// Tells whoever waits, and gives the command's place back if its call is over. A caller who is gone does not
    /// matter: what it was to be given tidies up after itself.
    fn acknowledge(&self, command: Command, result: Result<Figure, StoreError>) {
        match command {
            Command::Reserve { reservation, reply } => {
                let started_at = reservation.call.started_at;
                let reserved = result
                    .map(|id| OpenCall::reserved(CallId::from_row(id), started_at, Arc::clone(self.queue)));
                if reserved.is_err() {
                    self.queue.give_places(1);
                }
                drop(reply.send(reserved));
            }
            Command::Settle { id, .. } | Command::Refund { id, .. } => self.closed(id, result),
            Command::GiveUp { id } => {
                if let Err(error) = result {
                    tracing::error!(%error, call = %id, "a call could not be given up");
                }
                self.queue.give_places(1);
            }
            Command::Record { finished } => {
                if let Err(error) = result {
                    let request = &*finished.call.request;
                    tracing::error!(%error, request, "a call could not be recorded");
                }
                self.queue.give_places(1);
            }
            Command::Prune { reply, .. } => drop(reply.send(result.map(|num_rows| num_rows as u64))),
            Command::Flush { reply } => drop(reply.send(result.map(drop))),
        }
    }

    /// A call's end is written, or cannot be: then the call is given up, and stays charged at its reservation. One that
    /// somebody else closed, with a shell of SQLite's, keeps that end.
    fn closed(&self, id: CallId, result: Result<Figure, StoreError>) {
        let Err(error) = result else { return self.queue.give_places(1) };
        tracing::error!(%error, call = %id, "the end of a call could not be written");
        let is_over = matches!(error, StoreError::NotOpen { .. });
        // If the store is closed by now, the next one to open the file gives the call up.
        if is_over || self.queue.push(Command::GiveUp { id }, Hurry::No).is_err() {
            self.queue.give_places(1);
        }
    }
}

impl Command {
    /// Whether somebody waits for it, who is to be told of a failure instead of it being tried again.
    fn is_waited_for(&self) -> bool {
        match self {
            Self::Reserve { .. } | Self::Prune { .. } | Self::Flush { .. } => true,
            Self::Settle { .. } | Self::Refund { .. } | Self::GiveUp { .. } | Self::Record { .. } => false,
        }
    }
}

/// Whether an error is the file's or the machine's, and no single command's.
fn concerns_all(error: &StoreError) -> bool {
    let StoreError::Failed { source, .. } = error else { return false };
    let own_fault = [ErrorCode::ConstraintViolation, ErrorCode::TooBig, ErrorCode::TypeMismatch];
    source.sqlite_error_code().is_none_or(|code| !own_fault.contains(&code))
}

#[cfg(test)]
mod tests;

//! Reads the ledger on a connection of its own, so that no report waits for the writer or holds it up.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use spillway_types::{Usage, Usd};

use super::call::{CallId, CallRow, CallState, Outcome};
use super::reports::TimeRange;
use crate::database::{Location, open_reader};
use crate::error::StoreError;
use crate::time::UnixMs;

const COLUMNS: &str = "
    id, request, attempt, key, route, backend, model, privacy, variant, purpose, started_at_ms, reserved_nanos,
    estimated_prompt_tokens, max_tokens, state, outcome, prompt_tokens, cache_read_tokens, cache_write_tokens,
    completion_tokens, charged_nanos, strong_nanos, provider_request_id, settled_at_ms, ttft_ms,
    duration_ms";

/// Reads a ledger. Its methods wait for the disk: [`Ledger::read`](super::Ledger::read) is for async code.
#[derive(Debug)]
pub struct LedgerReader {
    pub(super) connection: Connection,
}

impl LedgerReader {
    /// Opens the ledger in a file to be read only, whether or not a server has it open.
    ///
    /// # Errors
    ///
    /// As of [`Store::open`](crate::Store::open), but never [`StoreError::InUse`]; [`StoreError::TooOld`] instead of a
    /// migration.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::at(&Location::File(path.to_owned()))
    }

    pub(crate) fn at(location: &Location) -> Result<Self, StoreError> {
        Ok(Self { connection: open_reader(location)? })
    }

    /// One call.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read.
    pub fn call(&self, id: CallId) -> Result<Option<CallRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM calls WHERE id = ?1");
        self.connection
            .query_row(&sql, [id.0], read_row)
            .optional()
            .map_err(|source| StoreError::failed("read a call", source))
    }

    /// The calls that began in a time, in order of their numbers: those after `after`, and `limit` at most. The next
    /// page follows the last one's number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read.
    pub fn calls(
        &self,
        time: TimeRange,
        after: Option<CallId>,
        limit: u32,
    ) -> Result<Vec<CallRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM calls
             WHERE id > :after AND started_at_ms >= :start_ms AND started_at_ms < :end_ms ORDER BY id LIMIT :limit"
        );
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map(
                named_params! {
                    ":after": after.map_or(0, |id| id.0), ":limit": limit,
                    ":start_ms": time.start.0, ":end_ms": time.end.0,
                },
                read_row,
            )?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| StoreError::failed("read calls", source))
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        id: CallId(row.get("id")?),
        request: row.get("request")?,
        attempt: row.get("attempt")?,
        key: row.get("key")?,
        route: row.get("route")?,
        backend: row.get("backend")?,
        model: row.get("model")?,
        privacy: row.get("privacy")?,
        variant: row.get("variant")?,
        purpose: row.get("purpose")?,
        started_at: UnixMs(row.get("started_at_ms")?),
        reserved: usd(row.get("reserved_nanos")?),
        estimated_prompt_tokens: row.get("estimated_prompt_tokens")?,
        max_tokens: row.get("max_tokens")?,
        state: read_word(row, "state", CallState::from_word)?.ok_or(rusqlite::Error::InvalidQuery)?,
        outcome: read_word(row, "outcome", Outcome::from_word)?,
        usage: read_usage(row)?,
        charged: usd(row.get("charged_nanos")?),
        strong_cost: row.get::<_, Option<i64>>("strong_nanos")?.map(usd),
        provider_request_id: row.get("provider_request_id")?,
        settled_at: row.get::<_, Option<i64>>("settled_at_ms")?.map(UnixMs),
        ttft_ms: row.get::<_, Option<i64>>("ttft_ms")?.map(|ms| ms as u64),
        duration_ms: row.get::<_, Option<i64>>("duration_ms")?.map(|ms| ms as u64),
    })
}

/// All four counts are there, or none.
fn read_usage(row: &Row<'_>) -> rusqlite::Result<Option<Usage>> {
    let Some(prompt_tokens) = row.get("prompt_tokens")? else { return Ok(None) };
    Ok(Some(Usage {
        prompt_tokens,
        cached_tokens: row.get("cache_read_tokens")?,
        cache_write_tokens: row.get("cache_write_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
    }))
}

/// A word of a closed set; absent if the column is. Another word is an error, for it would be read as nothing.
fn read_word<T>(
    row: &Row<'_>,
    column: &str,
    from_word: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let Some(word) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    match from_word(&word) {
        Some(value) => Ok(Some(value)),
        None => Err(rusqlite::Error::InvalidColumnType(
            row.as_ref().column_index(column)?,
            format!("{column} `{word}`"),
            rusqlite::types::Type::Text,
        )),
    }
}

/// Amounts are written by [`Statements`](super::Statements) only, which writes none below zero.
pub(super) fn usd(nanos: i64) -> Usd {
    Usd::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

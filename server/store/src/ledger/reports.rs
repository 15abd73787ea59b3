//! Sums over the ledger: who spent what, what is reserved, where the month ends, and what routing saved.
//!
//! A row counts where it began: a call that runs over midnight belongs to the day before.

use std::ops::Range;

use rusqlite::{Row, named_params};
use spillway_types::Usd;

use super::reader::{LedgerReader, usd};
use crate::error::StoreError;
use crate::time::{Month, UnixMs};

const MS_PER_HOUR: i64 = 60 * 60 * 1000;
const MS_PER_DAY: i64 = 24 * MS_PER_HOUR;
/// A month younger than this is projected by the spend of so long a time, reaching into the month before.
const PROJECTED_FROM_MS: i64 = 7 * MS_PER_DAY;

/// What the strong model would have cost for the answers that clients got: see [`Savings`].
const STRONG_COST: &str =
    "coalesce(sum(strong_nanos) FILTER (WHERE outcome = 'answered' AND purpose <> 'shadow'), 0)";

/// A time: from `start`, to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Its first moment.
    pub start: UnixMs,
    /// The first moment after it.
    pub end: UnixMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: UnixMs(i64::MIN), end: UnixMs(i64::MAX) };
}

impl From<Range<UnixMs>> for TimeRange {
    fn from(range: Range<UnixMs>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// What spend is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpendBy {
    /// The client's key.
    Key,
    /// The model as the backend knows it.
    Model,
    /// The route.
    Route,
    /// The backend.
    Backend,
    /// The part of a split.
    Variant,
    /// The word of the request's privacy: with [`SpendBy::Backend`] it shows what went where.
    Privacy,
    /// Why the call was made.
    Purpose,
    /// Where the call is in its life: `unsettled` is what nobody could tell.
    State,
    /// The day, in UTC, as `2026-11-23`.
    Day,
}

impl SpendBy {
    /// The name as SQL: one of these texts, never a caller's.
    fn expression(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Route => "route",
            Self::Backend => "backend",
            Self::Variant => "variant",
            Self::Privacy => "privacy",
            Self::Purpose => "purpose",
            Self::State => "state",
            Self::Day => "date(started_at_ms / 1000, 'unixepoch')",
        }
    }
}

/// Sums over the calls of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The key, model and so on; absent for calls without one.
    pub name: Option<String>,
    /// Calls, whatever became of them.
    pub num_calls: u64,
    /// Tokens of all prompts, as billed.
    pub prompt_tokens: u64,
    /// Tokens generated, as billed.
    pub completion_tokens: u64,
    /// What they cost: those that are not settled, their reservation.
    pub charged: Usd,
    /// What the strong model would have cost for the answers, as in [`Savings`].
    pub strong_cost: Usd,
}

/// Calls that are under way and cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenReservations {
    /// How many.
    pub num_calls: u64,
    /// What is reserved for them.
    pub reserved: Usd,
}

/// What a month costs so far, and what it will have cost at its end if it goes on like this.
///
/// Method: `projected = spent + rate * time left`, where the rate is what was charged per millisecond since the month
/// began, or in the last seven days while the month is younger than that. Time before the ledger's first call does not
/// count, and less than an hour counts as an hour, so that the first minutes do not project a fortune. Months are UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// The month.
    pub month: Month,
    /// Charged since it began.
    pub spent: Usd,
    /// Charged at its end, by the rate so far.
    pub projected: Usd,
    /// The time that the rate is taken over.
    pub measured: TimeRange,
    /// What was charged in that time.
    pub measured_spend: Usd,
}

/// What was spent, and what would have been spent had all gone to the strong model.
///
/// All charges count as spent. For the strong model only answers count that a client got: it would have answered each
/// request once, so neither attempts that failed nor shadows would have been paid. What a client gave up does not count
/// either, so the savings are rather told too small than too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savings {
    /// Charged, whatever became of the calls.
    pub spent: Usd,
    /// What the strong model would have cost for the answers.
    pub strong_cost: Usd,
}

impl Savings {
    /// What the routing saved; nothing if it cost more than it saved.
    pub fn saved(&self) -> Usd {
        self.strong_cost.saturating_sub(self.spent)
    }
}

impl LedgerReader {
    /// Spend by one name, dearest first; by day, in order of days.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read, or a sum is more than it can hold.
    pub fn spend(&self, time: TimeRange, by: SpendBy) -> Result<Vec<Spend>, StoreError> {
        let order = if by == SpendBy::Day { "name" } else { "charged DESC, name" };
        let sql = format!(
            "SELECT {} AS name, count(*) AS num_calls, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
                 coalesce(sum(completion_tokens), 0) AS completion_tokens, sum(charged_nanos) AS charged,
                 {STRONG_COST} AS strong
             FROM calls WHERE started_at_ms >= :start_ms AND started_at_ms < :end_ms
             GROUP BY 1 ORDER BY {order}",
            by.expression()
        );
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let bounds = named_params! { ":start_ms": time.start.0, ":end_ms": time.end.0 };
            let rows = statement.query_map(bounds, read_spend)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| StoreError::failed("sum the spend", source))
    }

    /// What is reserved for calls that are under way.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read.
    pub fn open_reservations(&self) -> Result<OpenReservations, StoreError> {
        let sql = "SELECT count(*), coalesce(sum(reserved_nanos), 0) FROM calls WHERE state = 'open'";
        let read = |row: &Row<'_>| {
            Ok(OpenReservations { num_calls: row.get::<_, i64>(0)? as u64, reserved: usd(row.get(1)?) })
        };
        self.connection
            .query_row(sql, [], read)
            .map_err(|source| StoreError::failed("sum the reservations", source))
    }

    /// Where the month of `now` ends. See [`Projection`] for the method.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read.
    pub fn projection(&self, now: UnixMs) -> Result<Projection, StoreError> {
        let month = Month::of(now);
        let Range { start, end } = month.range();
        let spent = self.savings(TimeRange { start, end })?.spent;
        let first_call = self.first_call()?.unwrap_or(now);
        let wanted = start.min(now.plus_ms(-PROJECTED_FROM_MS)).max(first_call);
        let measured = TimeRange { start: wanted.min(now.plus_ms(-MS_PER_HOUR)), end: now.plus_ms(1) };
        let measured_spend = self.savings(measured)?.spent;
        let measured_ms = (measured.end.0 - measured.start.0) as u128;
        let left_ms = (end.0 - now.0) as u128;
        let to_come = u128::from(measured_spend.nanos()) * left_ms / measured_ms;
        let projected = spent + Usd::from_nanos(u64::try_from(to_come).unwrap_or(u64::MAX));
        Ok(Projection { month, spent, projected, measured, measured_spend })
    }

    /// What was spent in a time, beside what the strong model would have cost.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the file cannot be read.
    pub fn savings(&self, time: TimeRange) -> Result<Savings, StoreError> {
        let sql = format!(
            "SELECT coalesce(sum(charged_nanos), 0), {STRONG_COST}
             FROM calls WHERE started_at_ms >= ?1 AND started_at_ms < ?2"
        );
        let read = |row: &Row<'_>| Ok(Savings { spent: usd(row.get(0)?), strong_cost: usd(row.get(1)?) });
        self.connection
            .query_row(&sql, [time.start.0, time.end.0], read)
            .map_err(|source| StoreError::failed("sum the savings", source))
    }

    fn first_call(&self) -> Result<Option<UnixMs>, StoreError> {
        let read = |row: &Row<'_>| Ok(row.get::<_, Option<i64>>(0)?.map(UnixMs));
        self.connection
            .query_row("SELECT min(started_at_ms) FROM calls", [], read)
            .map_err(|source| StoreError::failed("find the first call", source))
    }
}

fn read_spend(row: &Row<'_>) -> rusqlite::Result<Spend> {
    let count = |column: &str| row.get::<_, i64>(column).map(|count| count as u64);
    Ok(Spend {
        name: row.get("name")?,
        num_calls: count("num_calls")?,
        prompt_tokens: count("prompt_tokens")?,
        completion_tokens: count("completion_tokens")?,
        charged: usd(row.get("charged")?),
        strong_cost: usd(row.get("strong")?),
    })
}

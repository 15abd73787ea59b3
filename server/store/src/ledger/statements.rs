//! The statements that change the ledger, prepared once for the life of the writer.

use rusqlite::{Connection, Statement, ToSql};
use spillway_types::Usd;

use super::call::{Call, CallId, FinishedCall, Refund, Reservation, Settlement};
use crate::error::StoreError;
use crate::time::UnixMs;

/// ?1 to ?12 are what [`Binder::call`] binds.
const RESERVE: &str = "
    INSERT INTO calls (
        request, attempt, key, route, backend, model, privacy, variant, purpose, started_at_ms,
        estimated_prompt_tokens, max_tokens, state, reserved_nanos, charged_nanos
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'open', ?13, ?13)";

/// ?2 to ?12 are what [`Binder::settlement`] binds.
const SETTLE: &str = "
    UPDATE calls SET
        state = 'settled', outcome = ?2, charged_nanos = ?3, strong_nanos = ?4, prompt_tokens = ?5,
        cache_read_tokens = ?6, cache_write_tokens = ?7, completion_tokens = ?8, provider_request_id = ?9,
        settled_at_ms = ?10, ttft_ms = ?11, duration_ms = ?12
    WHERE id = ?1 AND state = 'open'";

const REFUND: &str = "
    UPDATE calls SET
        state = 'refunded', outcome = ?2, charged_nanos = 0, provider_request_id = ?3, settled_at_ms = ?4,
        duration_ms = ?5
    WHERE id = ?1 AND state = 'open'";

const GIVE_UP: &str = "UPDATE calls SET state = 'unsettled' WHERE id = ?1 AND state = 'open'";

/// ?1 to ?12 are what [`Binder::call`] binds, ?13 to ?23 what [`Binder::settlement`] does.
const RECORD: &str = "
    INSERT INTO calls (
        request, attempt, key, route, backend, model, privacy, variant, purpose, started_at_ms,
        estimated_prompt_tokens, max_tokens, state, reserved_nanos, outcome, charged_nanos, strong_nanos,
        prompt_tokens, cache_read_tokens, cache_write_tokens, completion_tokens, provider_request_id,
        settled_at_ms, ttft_ms, duration_ms
    ) VALUES (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'settled', 0,
        ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23
    )";

/// Keeps the newest row: the next one's number follows from it, so that no number is ever given twice.
const PRUNE: &str = "
    DELETE FROM calls WHERE id IN (
        SELECT id FROM calls
        WHERE started_at_ms < ?1 AND state <> 'open' AND id < (SELECT max(id) FROM calls)
        ORDER BY started_at_ms LIMIT ?2
    )";

/// All that the writer says to the database.
pub(crate) struct Statements<'c> {
    connection: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    reserve: Statement<'c>,
    settle: Statement<'c>,
    refund: Statement<'c>,
    give_up: Statement<'c>,
    record: Statement<'c>,
    prune: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(crate) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            reserve: connection.prepare(RESERVE)?,
            settle: connection.prepare(SETTLE)?,
            refund: connection.prepare(REFUND)?,
            give_up: connection.prepare(GIVE_UP)?,
            record: connection.prepare(RECORD)?,
            prune: connection.prepare(PRUNE)?,
        })
    }

    pub(crate) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        self.commit.execute([]).map(drop)
    }

    /// Undoes the transaction, unless SQLite already has.
    pub(crate) fn roll_back(&self) {
        if self.is_in_transaction()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store could not undo a transaction");
        }
    }

    /// Whether a transaction is open: after some errors SQLite ends it by itself.
    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Gives the new row's number.
    pub(crate) fn reserve(&mut self, reservation: &Reservation) -> Result<i64, StoreError> {
        let amount = nanos(reservation.amount)?;
        let mut binder = Binder::new(&mut self.reserve);
        let run =
            binder.call(&reservation.call).and_then(|()| binder.bind(amount)).and_then(|()| binder.run());
        run.map_err(|source| StoreError::failed("reserve for a call", source))?;
        Ok(self.connection.last_insert_rowid())
    }

    pub(crate) fn settle(&mut self, id: CallId, settlement: &Settlement) -> Result<i64, StoreError> {
        let amounts = Amounts::of(settlement)?;
        let mut binder = Binder::new(&mut self.settle);
        let bound = binder.bind(id.0).and_then(|()| binder.settlement(settlement, amounts));
        expect_one_row(bound.and_then(|()| binder.run()), id, "settle a call")
    }

    pub(crate) fn refund(&mut self, id: CallId, refund: &Refund) -> Result<i64, StoreError> {
        let Refund { outcome, provider_request_id, settled_at, duration_ms } = refund;
        let changed = self.refund.execute((
            id.0,
            outcome.to_word(),
            provider_request_id,
            settled_at.0,
            *duration_ms as i64,
        ));
        expect_one_row(changed, id, "refund a call")
    }

    pub(crate) fn give_up(&mut self, id: CallId) -> Result<i64, StoreError> {
        expect_one_row(self.give_up.execute([id.0]), id, "give up a call")
    }

    pub(crate) fn record(&mut self, finished: &FinishedCall) -> Result<i64, StoreError> {
        let FinishedCall { call, settlement } = finished;
        let amounts = Amounts::of(settlement)?;
        let mut binder = Binder::new(&mut self.record);
        let bound = binder.call(call).and_then(|()| binder.settlement(settlement, amounts));
        let run = bound.and_then(|()| binder.run()).map(|num_rows| num_rows as i64);
        run.map_err(|source| StoreError::failed("record a call", source))
    }

    /// Deletes up to `limit` closed calls that began before a moment, and tells how many.
    pub(crate) fn prune(&mut self, before: UnixMs, limit: u32) -> Result<i64, StoreError> {
        self.prune
            .execute((before.0, limit))
            .map(|num_rows| num_rows as i64)
            .map_err(|source| StoreError::failed("prune the ledger", source))
    }
}

/// Binds the parameters of a statement by their numbers, from the first on. To find each by its name took a third of
/// the writer's time.
struct Binder<'s, 'c> {
    statement: &'s mut Statement<'c>,
    next: usize,
}

impl<'s, 'c> Binder<'s, 'c> {
    fn new(statement: &'s mut Statement<'c>) -> Self {
        Self { statement, next: 1 }
    }

    fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    /// Twelve parameters.
    fn call(&mut self, call: &Call) -> rusqlite::Result<()> {
        self.bind(&call.request)?;
        self.bind(call.attempt)?;
        self.bind(&call.key)?;
        self.bind(&call.route)?;
        self.bind(&call.backend)?;
        self.bind(call.model.as_str())?;
        self.bind(call.privacy)?;
        self.bind(&call.variant)?;
        self.bind(call.purpose)?;
        self.bind(call.started_at.0)?;
        self.bind(call.estimated_prompt_tokens)?;
        self.bind(call.max_tokens)
    }

    /// Eleven parameters.
    fn settlement(&mut self, settlement: &Settlement, amounts: Amounts) -> rusqlite::Result<()> {
        self.bind(settlement.outcome.to_word())?;
        self.bind(amounts.cost)?;
        self.bind(amounts.strong_cost)?;
        self.bind(settlement.usage.prompt_tokens)?;
        self.bind(settlement.usage.cached_tokens)?;
        self.bind(settlement.usage.cache_write_tokens)?;
        self.bind(settlement.usage.completion_tokens)?;
        self.bind(&settlement.provider_request_id)?;
        self.bind(settlement.settled_at.0)?;
        self.bind(settlement.ttft_ms.map(|ms| ms as i64))?;
        self.bind(settlement.duration_ms as i64)
    }

    /// Runs the statement, and tells how many rows it changed.
    fn run(&mut self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

/// The amounts of a settlement, as the file holds them.
#[derive(Debug, Clone, Copy)]
struct Amounts {
    cost: i64,
    strong_cost: Option<i64>,
}

impl Amounts {
    fn of(settlement: &Settlement) -> Result<Self, StoreError> {
        let strong_cost = settlement.strong_cost.map(nanos).transpose()?;
        Ok(Self { cost: nanos(settlement.cost)?, strong_cost })
    }
}

/// An amount as the file holds it.
fn nanos(amount: Usd) -> Result<i64, StoreError> {
    i64::try_from(amount.nanos()).map_err(|_| StoreError::AmountTooLarge { nanos: amount.nanos() })
}

fn expect_one_row(
    changed: rusqlite::Result<usize>,
    id: CallId,
    action: &'static str,
) -> Result<i64, StoreError> {
    match changed {
        Ok(0) => Err(StoreError::NotOpen { id: id.0 }),
        Ok(num_rows) => Ok(num_rows as i64),
        Err(source) => Err(StoreError::failed(action, source)),
    }
}

//! The statements that change the ledger, prepared once for the life of the writer.

use rusqlite::{Connection, Statement, named_params};
use spillway_types::Usd;

use super::call::{Call, CallId, FinishedCall, Refund, Reservation, Settlement};
use crate::error::StoreError;
use crate::time::UnixMs;

const RESERVE: &str = "
    INSERT INTO calls (
        request, attempt, key, route, backend, model, privacy, variant, purpose, started_at_ms, reserved_nanos,
        estimated_prompt_tokens, max_tokens, state, charged_nanos
    ) VALUES (
        :request, :attempt, :key, :route, :backend, :model, :privacy, :variant, :purpose, :started_at_ms, :reserved_nanos,
        :estimated_prompt_tokens, :max_tokens, 'open', :reserved_nanos
    )";

const SETTLE: &str = "
    UPDATE calls SET
        state = 'settled', outcome = :outcome, charged_nanos = :charged_nanos, strong_nanos = :strong_nanos,
        prompt_tokens = :prompt_tokens, cache_read_tokens = :cache_read_tokens,
        cache_write_tokens = :cache_write_tokens, completion_tokens = :completion_tokens,
        provider_request_id = :provider_request_id, settled_at_ms = :settled_at_ms, ttft_ms = :ttft_ms, duration_ms = :duration_ms
    WHERE id = :id AND state = 'open'";

const RECORD: &str = "
    INSERT INTO calls (
        request, attempt, key, route, backend, model, privacy, variant, purpose, started_at_ms, reserved_nanos,
        estimated_prompt_tokens, max_tokens, state, outcome, charged_nanos, strong_nanos, prompt_tokens,
        cache_read_tokens, cache_write_tokens, completion_tokens, provider_request_id, settled_at_ms, ttft_ms,
        duration_ms
    ) VALUES (
        :request, :attempt, :key, :route, :backend, :model, :privacy, :variant, :purpose, :started_at_ms, 0,
        :estimated_prompt_tokens, :max_tokens, 'settled', :outcome, :charged_nanos, :strong_nanos, :prompt_tokens,
        :cache_read_tokens, :cache_write_tokens, :completion_tokens, :provider_request_id, :settled_at_ms,
        :ttft_ms, :duration_ms
    )";

/// Keeps the newest row: the next one's number follows from it, so that no number is ever given twice.
const PRUNE: &str = "
    DELETE FROM calls WHERE id IN (
        SELECT id FROM calls
        WHERE started_at_ms < :before_ms AND state <> 'open' AND id < (SELECT max(id) FROM calls)
        ORDER BY started_at_ms LIMIT :limit
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
            refund: connection.prepare(
                "UPDATE calls SET state = 'refunded', outcome = :outcome, charged_nanos = 0,
                     provider_request_id = :provider_request_id, settled_at_ms = :settled_at_ms,
                     duration_ms = :duration_ms
                 WHERE id = :id AND state = 'open'",
            )?,
            give_up: connection
                .prepare("UPDATE calls SET state = 'unsettled' WHERE id = :id AND state = 'open'")?,
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

    pub(crate) fn reserve(&mut self, reservation: &Reservation) -> Result<i64, StoreError> {
        let Reservation { call, amount } = reservation;
        let Call { request, attempt, key, route, backend, model, privacy, variant, purpose, .. } = call;
        self.reserve
            .execute(named_params! {
                ":request": request, ":attempt": attempt, ":key": key, ":route": route, ":backend": backend,
                ":model": model.as_str(), ":privacy": privacy, ":variant": variant, ":purpose": purpose,
                ":started_at_ms": call.started_at.0, ":reserved_nanos": nanos(*amount)?,
                ":estimated_prompt_tokens": call.estimated_prompt_tokens, ":max_tokens": call.max_tokens,
            })
            .map_err(|source| StoreError::failed("reserve for a call", source))?;
        Ok(self.connection.last_insert_rowid())
    }

    pub(crate) fn settle(&mut self, id: CallId, settlement: &Settlement) -> Result<i64, StoreError> {
        let Settlement { usage, .. } = settlement;
        let changed = self.settle.execute(named_params! {
            ":id": id.0, ":outcome": settlement.outcome.to_word(),
            ":charged_nanos": nanos(settlement.cost)?,
            ":strong_nanos": settlement.strong_cost.map(nanos).transpose()?,
            ":prompt_tokens": usage.prompt_tokens, ":cache_read_tokens": usage.cached_tokens,
            ":cache_write_tokens": usage.cache_write_tokens, ":completion_tokens": usage.completion_tokens,
            ":provider_request_id": settlement.provider_request_id,
            ":settled_at_ms": settlement.settled_at.0, ":ttft_ms": settlement.ttft_ms.map(|ms| ms as i64), ":duration_ms": settlement.duration_ms as i64,
        });
        expect_one_row(changed, id, "settle a call")
    }

    pub(crate) fn refund(&mut self, id: CallId, refund: &Refund) -> Result<i64, StoreError> {
        let changed = self.refund.execute(named_params! {
            ":id": id.0, ":outcome": refund.outcome.to_word(),
            ":provider_request_id": refund.provider_request_id,
            ":settled_at_ms": refund.settled_at.0, ":duration_ms": refund.duration_ms as i64,
        });
        expect_one_row(changed, id, "refund a call")
    }

    pub(crate) fn give_up(&mut self, id: CallId) -> Result<i64, StoreError> {
        let changed = self.give_up.execute(named_params! { ":id": id.0 });
        expect_one_row(changed, id, "give up a call")
    }

    pub(crate) fn record(&mut self, finished: &FinishedCall) -> Result<i64, StoreError> {
        let FinishedCall { call, settlement } = finished;
        let Call { request, attempt, key, route, backend, model, privacy, variant, purpose, .. } = call;
        let Settlement { usage, .. } = settlement;
        self.record
            .execute(named_params! {
                ":request": request, ":attempt": attempt, ":key": key, ":route": route, ":backend": backend,
                ":model": model.as_str(), ":privacy": privacy, ":variant": variant, ":purpose": purpose,
                ":started_at_ms": call.started_at.0,
                ":estimated_prompt_tokens": call.estimated_prompt_tokens, ":max_tokens": call.max_tokens,
                ":outcome": settlement.outcome.to_word(), ":charged_nanos": nanos(settlement.cost)?,
                ":strong_nanos": settlement.strong_cost.map(nanos).transpose()?,
                ":prompt_tokens": usage.prompt_tokens, ":cache_read_tokens": usage.cached_tokens,
                ":cache_write_tokens": usage.cache_write_tokens,
                ":completion_tokens": usage.completion_tokens,
                ":provider_request_id": settlement.provider_request_id,
                ":settled_at_ms": settlement.settled_at.0, ":ttft_ms": settlement.ttft_ms.map(|ms| ms as i64), ":duration_ms": settlement.duration_ms as i64,
            })
            .map(|num_rows| num_rows as i64)
            .map_err(|source| StoreError::failed("record a call", source))
    }

    /// Deletes up to `limit` closed calls that began before a moment, and tells how many.
    pub(crate) fn prune(&mut self, before: UnixMs, limit: u32) -> Result<i64, StoreError> {
        self.prune
            .execute(named_params! { ":before_ms": before.0, ":limit": limit })
            .map(|num_rows| num_rows as i64)
            .map_err(|source| StoreError::failed("prune the ledger", source))
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

//! The router's books in the store's ledger.

use std::borrow::Cow;
use std::sync::Arc;

use spillway_router::{BoxFuture, Call, CallEnd, Ledger, LedgerError, OpenCall, Outcome};
use spillway_store as store;
use spillway_store::UnixMs;

/// Tells the milliseconds since 1970.
pub(crate) type UnixClock = Arc<dyn Fn() -> UnixMs + Send + Sync>;

/// Writes calls into the store.
pub(crate) struct StoreLedger {
    ledger: store::Ledger,
    clock: UnixClock,
}

impl StoreLedger {
    /// Writes into this ledger, at this clock's time.
    pub(crate) fn new(ledger: store::Ledger, clock: UnixClock) -> Self {
        Self { ledger, clock }
    }

    fn call(&self, call: Call) -> store::Call {
        let shared = |text: &str| Arc::<str>::from(text);
        store::Call {
            request: call.request,
            attempt: call.attempt,
            key: call.key,
            route: shared(call.route.as_str()),
            backend: shared(call.backend.as_str()),
            model: call.model,
            privacy: call.privacy.as_str(),
            variant: call.variant.map(|variant| shared(variant.as_str())),
            purpose: call.purpose.as_str(),
            started_at: (self.clock)(),
            estimated_prompt_tokens: call.prompt_tokens,
            max_tokens: call.max_tokens,
        }
    }
}

impl Ledger for StoreLedger {
    fn reserve(&self, call: Call) -> BoxFuture<'_, Result<Box<dyn OpenCall>, LedgerError>> {
        Box::pin(async move {
            let amount = call.reserved;
            let reservation = store::Reservation { call: self.call(call), amount };
            let reserved = self.ledger.reserve(reservation).await;
            let row = reserved.map_err(|error| LedgerError { message: error.to_string() })?;
            let row: Box<dyn OpenCall> = Box::new(Row { row, clock: Arc::clone(&self.clock) });
            Ok(row)
        })
    }

    fn record(&self, call: Call, end: CallEnd) {
        let settled_at = (self.clock)();
        let mut call = self.call(call);
        call.started_at = settled_at.plus_ms(-i64::try_from(end.duration_ms).unwrap_or(i64::MAX));
        let finished = store::FinishedCall { call, settlement: settlement(&end, settled_at) };
        if let Err(error) = self.ledger.record(finished) {
            tracing::error!(%error, "a call that cost nothing is missing in the ledger");
        }
    }
}

/// A reserved call.
struct Row {
    row: store::OpenCall,
    clock: UnixClock,
}

impl OpenCall for Row {
    fn close(self: Box<Self>, end: CallEnd) {
        let settled_at = (self.clock)();
        match end.outcome {
            Outcome::Failed(_) => self.row.refund(store::Refund {
                outcome: outcome(end.outcome),
                provider_request_id: end.provider_request_id,
                settled_at,
                duration_ms: end.duration_ms,
            }),
            Outcome::Answered | Outcome::Cancelled | Outcome::Broken(_) => {
                self.row.settle(settlement(&end, settled_at));
            }
        }
    }
}

fn settlement(end: &CallEnd, settled_at: UnixMs) -> store::Settlement {
    store::Settlement {
        outcome: outcome(end.outcome),
        usage: end.usage,
        cost: end.cost,
        strong_cost: end.strong_cost,
        provider_request_id: end.provider_request_id.clone(),
        settled_at,
        ttft_ms: end.ttft_ms,
        duration_ms: end.duration_ms,
    }
}

fn outcome(outcome: Outcome) -> store::Outcome {
    match outcome {
        Outcome::Answered => store::Outcome::Answered,
        Outcome::Cancelled => store::Outcome::Cancelled,
        Outcome::Broken(code) => store::Outcome::Broken(Cow::Borrowed(code)),
        Outcome::Failed(code) => store::Outcome::Failed(Cow::Borrowed(code)),
    }
}

/// Keeps no books: for a server where nothing costs anything, or that is told to keep none. What costs money is refused.
pub(crate) struct NoLedger;

impl Ledger for NoLedger {
    fn reserve(&self, _: Call) -> BoxFuture<'_, Result<Box<dyn OpenCall>, LedgerError>> {
        Box::pin(async { Err(LedgerError { message: "there is no store: set [store] path".to_owned() }) })
    }

    fn record(&self, _: Call, _: CallEnd) {}
}

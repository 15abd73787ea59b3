//! One call in the books, from before it is made until it is over, however it ends.
//!
//! # Invariants
//!
//! - A call ends in the books exactly once: at its last event, at its error, or when its stream is dropped.
//! - What costs money is written down before it is asked for, and stays charged until it is known to have cost less.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use spillway_types::{GenerateEvent, TokenPrices, Usage, Usd};

use crate::spend::SpendBucket;
use crate::{
    BackendError, Call, CallEnd, ErrorClass, Ledger, Observer, OpenCall, Outcome, Progress, Purpose, Reason,
    Runtime,
};

/// What a request cost, once that is known. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cost(Arc<AtomicU64>);

/// In a [`Cost`] that is not known yet: no amount of money, for the books would not hold it.
const UNKNOWN: u64 = u64::MAX;

impl Cost {
    fn unknown() -> Self {
        Self(Arc::new(AtomicU64::new(UNKNOWN)))
    }

    /// The cost, once the call is over.
    pub fn get(&self) -> Option<Usd> {
        Some(self.0.load(Relaxed)).filter(|nanos| *nanos != UNKNOWN).map(Usd::from_nanos)
    }
}

/// Bytes of text that make a token, where only the text is known.
const BYTES_PER_TOKEN: u64 = 4;

/// What keeping the books of a call needs.
#[derive(Clone)]
pub(crate) struct Clerk {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) observer: Arc<dyn Observer>,
}

/// The books of one call.
pub(crate) struct Books {
    clerk: Clerk,
    call: Call,
    /// Its row, if it was reserved.
    row: Option<Box<dyn OpenCall>>,
    prices: TokenPrices,
    strong: Option<TokenPrices>,
    /// What was taken for it from what overflow may cost.
    spent: Option<Arc<SpendBucket>>,
    reason: Reason,
    began: Duration,
    first_content: Option<Duration>,
    text_bytes: u64,
    num_tokens: u32,
    cost: Cost,
    is_closed: bool,
}

/// What a call is made of, beside what its row holds.
pub(crate) struct Terms {
    pub(crate) prices: TokenPrices,
    pub(crate) strong: Option<TokenPrices>,
    pub(crate) spent: Option<Arc<SpendBucket>>,
    pub(crate) reason: Reason,
}

impl Books {
    /// Opens the books: returns once a call that costs money is written down.
    pub(crate) async fn open(clerk: Clerk, call: Call, terms: Terms) -> Result<Self, crate::LedgerError> {
        let Terms { prices, strong, spent, reason } = terms;
        let began = clerk.runtime.now();
        let mut books = Self {
            clerk,
            call,
            row: None,
            prices,
            strong,
            spent,
            reason,
            began,
            first_content: None,
            text_bytes: 0,
            num_tokens: 0,
            cost: Cost::unknown(),
            // Until it is written down no call is made, so there is nothing to close if nobody waits for it any more.
            is_closed: true,
        };
        if !books.prices.is_free() {
            books.row = Some(books.clerk.ledger.reserve(books.call.clone()).await?);
        }
        books.is_closed = false;
        Ok(books)
    }

    /// What it will have cost.
    pub(crate) fn cost(&self) -> Cost {
        self.cost.clone()
    }

    /// The time.
    pub(crate) fn now(&self) -> Duration {
        self.clerk.runtime.now()
    }

    /// The time from the call to its first content, if there was any.
    pub(crate) fn ttft(&self) -> Option<Duration> {
        self.first_content.map(|at| at.saturating_sub(self.began))
    }

    /// Takes note of an event on its way, and closes the books at the last one.
    pub(crate) fn saw(&mut self, event: &Result<GenerateEvent, BackendError>) {
        let (bytes, tokens) = match event {
            Ok(GenerateEvent::Delta(delta)) => (delta.text.len(), delta.tokens.len()),
            Ok(GenerateEvent::Reasoning(delta)) => (delta.text.len(), 0),
            Ok(GenerateEvent::ToolCall(delta)) => (delta.arguments.len(), 0),
            Ok(GenerateEvent::Done(usage)) => return self.close(Outcome::Answered, *usage),
            Err(error) => return self.failed(error),
            Ok(
                GenerateEvent::Started { .. }
                | GenerateEvent::Prompt { .. }
                | GenerateEvent::PromptScored { .. }
                | GenerateEvent::Finished { .. },
            ) => return,
        };
        self.text_bytes += bytes as u64;
        self.num_tokens += tokens as u32;
        if self.first_content.is_none() {
            self.first_content = Some(self.clerk.runtime.now());
        }
    }

    /// The call failed, before its stream or in it.
    pub(crate) fn failed(&mut self, error: &BackendError) {
        if let BackendError::Upstream(error) = error
            && let Some(usage) = &error.usage
        {
            return self.close(Outcome::Broken(error.class.as_str()), **usage);
        }
        let (code, may_be_billed) = match error {
            BackendError::Upstream(error) => {
                let is_sent = error.progress == Progress::ContentSent;
                (error.class.as_str(), is_sent || may_have_run(error.class))
            }
            BackendError::Failed { tokens_sent, .. } => ("failed", *tokens_sent > 0),
            BackendError::PromptTooLong { .. } => ("prompt_too_long", false),
            BackendError::InvalidRequest { .. } => ("invalid_request", false),
            BackendError::QueueFull { .. } | BackendError::QueueTooLong { .. } => ("queue_full", false),
            BackendError::ShuttingDown { .. } => ("shutting_down", self.text_bytes > 0),
        };
        if may_be_billed || self.text_bytes > 0 {
            self.close(Outcome::Broken(code), self.estimate());
        } else {
            self.close(Outcome::Failed(code), Usage::default());
        }
    }

    /// What was likely used by now: the whole prompt, and what was generated of the answer.
    fn estimate(&self) -> Usage {
        let of_text = u32::try_from(self.text_bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
        Usage {
            prompt_tokens: self.call.prompt_tokens,
            completion_tokens: self.num_tokens.max(of_text),
            ..Usage::default()
        }
    }

    fn close(&mut self, outcome: Outcome, usage: Usage) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let cost = match outcome {
            Outcome::Failed(_) => Usd::ZERO,
            Outcome::Answered | Outcome::Cancelled | Outcome::Broken(_) => self.prices.cost(&usage),
        };
        self.cost.0.store(cost.nanos(), Relaxed);
        self.give_back(cost);
        let now = self.clerk.runtime.now();
        let serves = outcome == Outcome::Answered && self.call.purpose != Purpose::Shadow;
        let end = CallEnd {
            outcome,
            usage,
            cost,
            strong_cost: self.strong.filter(|_| serves).map(|prices| prices.cost(&usage)),
            duration_ms: now.saturating_sub(self.began).as_millis() as u64,
            ttft_ms: self.ttft().map(|ttft| ttft.as_millis() as u64),
        };
        self.clerk.observer.ended(&self.call, &end, self.reason);
        match self.row.take() {
            Some(row) => row.close(end),
            None => self.clerk.ledger.record(self.call.clone(), end),
        }
    }

    fn give_back(&mut self, cost: Usd) {
        if let Some(spent) = self.spent.take() {
            spent.give_back(self.call.reserved.saturating_sub(cost));
        }
    }
}

/// Whether the model may have been at work when we gave up, which providers bill though nobody saw an answer.
fn may_have_run(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::FirstTokenTimeout
            | ErrorClass::IdleTimeout
            | ErrorClass::TotalTimeout
            | ErrorClass::ConnectionLost
            | ErrorClass::MissingEnd
            | ErrorClass::Malformed
            | ErrorClass::EmptyAnswer
            | ErrorClass::MalformedOutput
    )
}

impl Drop for Books {
    fn drop(&mut self) {
        // Nobody reads on: what was generated by now is paid for all the same.
        let estimate = self.estimate();
        self.close(Outcome::Cancelled, estimate);
        self.give_back(Usd::ZERO);
    }
}

//! What comes of a step that was launched: known at once where the host chose the tokens, else when the device is done.
//!
//! # Invariants
//!
//! - A step's outcome is found out once, by whoever asks first: the one that collects it, or a later step that needs its
//!   tokens on the host. A step asks for the one before it, so outcomes are found out in launch order.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use spillway_types::TokenId;

use crate::batch::{ForwardBatch, InputToken, RowError, RowTokens, SampledTokens};
use crate::error::ModelError;
use crate::model::PendingTokens;

/// A step that was launched.
#[derive(Debug)]
pub struct LaunchedStep(pub(super) Arc<StepOutcome>);

impl LaunchedStep {
    /// Waits for the step's tokens.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the step as a whole failed on the device.
    ///
    /// # Panics
    ///
    /// If finding out has panicked before, for a later step.
    pub fn finish(self) -> Result<SampledTokens, ModelError> {
        self.0.tokens();
        lock(&self.0.result).take().expect("what was found out is there until it is collected")
    }
}

/// What is known of a step's outcome.
#[derive(Debug)]
pub(super) struct StepOutcome {
    num_rows: usize,
    is_on_device: bool,
    pending: Mutex<Option<Pending>>,
    /// The last token that each row sampled.
    tokens: OnceLock<Vec<Option<TokenId>>>,
    /// Until it is collected.
    result: Mutex<Option<Result<SampledTokens, ModelError>>>,
}

/// A step that a device is computing.
#[derive(Debug)]
struct Pending {
    tokens: Box<dyn PendingTokens>,
    batch: ForwardBatch,
    previous: Arc<StepOutcome>,
}

impl StepOutcome {
    /// Of a step of `num_rows` rows that has sampled nothing.
    pub(super) fn missing(num_rows: usize) -> Self {
        Self {
            num_rows,
            is_on_device: false,
            pending: Mutex::new(None),
            tokens: OnceLock::from(vec![None; num_rows]),
            result: Mutex::new(None),
        }
    }

    /// Of a step whose tokens the host has chosen.
    pub(super) fn known(sampled: SampledTokens) -> Self {
        Self {
            num_rows: sampled.rows.len(),
            is_on_device: false,
            pending: Mutex::new(None),
            tokens: OnceLock::from(last_tokens(&sampled)),
            result: Mutex::new(Some(Ok(sampled))),
        }
    }

    /// Of a step whose tokens the device chooses. `batch` is as it was planned, on top of `previous`.
    pub(super) fn on_device(
        tokens: Box<dyn PendingTokens>,
        batch: ForwardBatch,
        previous: Arc<Self>,
    ) -> Self {
        Self {
            num_rows: batch.rows.len(),
            is_on_device: true,
            pending: Mutex::new(Some(Pending { tokens, batch, previous })),
            tokens: OnceLock::new(),
            result: Mutex::new(None),
        }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Whether the device has the tokens, so that the next step need not wait for the host to know them.
    pub(super) fn is_on_device(&self) -> bool {
        self.is_on_device
    }

    /// The last token that each row sampled. Waits for the device where it must.
    pub(super) fn tokens(&self) -> &[Option<TokenId>] {
        self.tokens.get_or_init(|| {
            let Some(pending) = lock(&self.pending).take() else { return vec![None; self.num_rows] };
            let result = pending.finish();
            // Rows planned on top of a failed step may still come in; they must find a missing token, not a stale one.
            let tokens = result.as_ref().map_or_else(|_| vec![None; self.num_rows], last_tokens);
            *lock(&self.result) = Some(result);
            tokens
        })
    }
}

impl Pending {
    fn finish(self) -> Result<SampledTokens, ModelError> {
        let mut sampled = self.tokens.wait(&self.batch)?;
        let previous = self.previous.tokens();
        for (row, outcome) in self.batch.rows.iter().zip(&mut sampled.rows) {
            let tokens = &self.batch.tokens[row.tokens.start as usize..row.tokens.end as usize];
            if tokens.iter().any(|token| is_missing(*token, previous)) {
                *outcome = Err(RowError::PreviousTokenMissing { position: row.kv_len });
            }
        }
        Ok(sampled)
    }
}

/// Whether a token was to come from a row that has none.
pub(super) fn is_missing(token: InputToken, previous: &[Option<TokenId>]) -> bool {
    matches!(token, InputToken::Sampled { row } if previous[row as usize].is_none())
}

fn last_tokens(sampled: &SampledTokens) -> Vec<Option<TokenId>> {
    let last = |row: &RowTokens| row.as_ref().ok()?.sampled.last().map(|sampled| sampled.token);
    sampled.rows.iter().map(last).collect()
}

/// What a lock holds, also after a panic elsewhere: both kinds are put and taken whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

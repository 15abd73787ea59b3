//! An executor that passes a [`Gate`] before each step and writes down what the step was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spillway_engine::{Executor, ExecutorError, StepTicket};
use spillway_models::{ForwardBatch, InputToken, SampledTokens};
use spillway_types::{BlockId, SeqId};

use crate::gate::Gate;

/// One row of a launched step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRecord {
    /// The sequence.
    pub seq_id: SeqId,
    /// First position computed.
    pub start: u32,
    /// Positions computed.
    pub num_tokens: u32,
    /// Whether a token was sampled.
    pub samples: bool,
    /// Whether its last token was not known yet when the step was launched.
    pub continues_step_in_flight: bool,
    /// Its block table.
    pub blocks: Vec<BlockId>,
}

/// One launched step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// Its rows, in order.
    pub rows: Vec<RowRecord>,
}

/// All steps launched since the records were cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps(pub Vec<StepRecord>);

/// Watches another executor.
pub struct WatchedExecutor {
    inner: Box<dyn Executor>,
    gate: Arc<Gate>,
    steps: Arc<Mutex<Steps>>,
}

impl Steps {
    /// All rows of all steps.
    pub fn rows(&self) -> impl Iterator<Item = &RowRecord> {
        self.0.iter().flat_map(|step| &step.rows)
    }

    /// Rows that computed a part of a prompt and not its end.
    pub fn num_chunks(&self) -> usize {
        self.rows().filter(|row| !row.samples).count()
    }

    /// Most tokens in one row.
    pub fn max_row_tokens(&self) -> u32 {
        self.rows().map(|row| row.num_tokens).max().unwrap_or(0)
    }

    /// Most rows in one step.
    pub fn max_rows(&self) -> usize {
        self.0.iter().map(|step| step.rows.len()).max().unwrap_or(0)
    }

    /// Rows that were launched before their last token was known.
    pub fn num_overlapped(&self) -> usize {
        self.rows().filter(|row| row.continues_step_in_flight).count()
    }

    /// Steps in which one sequence computed several tokens while another decoded.
    pub fn num_mixed(&self) -> usize {
        let is_mixed = |step: &&StepRecord| {
            step.rows.iter().any(|row| row.num_tokens > 1) && step.rows.iter().any(|row| row.num_tokens == 1)
        };
        self.0.iter().filter(is_mixed).count()
    }
}

impl WatchedExecutor {
    /// Watches `inner`, writing steps to `steps`.
    pub fn new(inner: Box<dyn Executor>, gate: Arc<Gate>, steps: Arc<Mutex<Steps>>) -> Self {
        Self { inner, gate, steps }
    }
}

impl Executor for WatchedExecutor {
    fn launch(&mut self, batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        self.gate.pass();
        lock(&self.steps).0.push(record(&batch));
        self.inner.launch(batch)
    }

    fn collect(&mut self, step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        self.inner.collect(step)
    }
}

/// Records are pushed whole, so a panic elsewhere leaves them good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(batch: &ForwardBatch) -> StepRecord {
    let rows = batch.rows.iter().map(|row| {
        let tokens = row.tokens.start as usize..row.tokens.end as usize;
        let blocks = row.blocks.start as usize..row.blocks.end as usize;
        RowRecord {
            seq_id: row.seq_id,
            start: row.kv_len - tokens.len() as u32,
            num_tokens: tokens.len() as u32,
            samples: row.sample.is_some(),
            continues_step_in_flight: batch.tokens[tokens]
                .iter()
                .any(|token| matches!(token, InputToken::Sampled { .. })),
            blocks: batch.block_ids[blocks].to_vec(),
        }
    });
    StepRecord { rows: rows.collect() }
}

//! An executor that computes the oracle's model over a paged store, and breaks when it is told to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use spillway_engine::{Executor, ExecutorError, StepTicket};
use spillway_models::{BatchLimits, ForwardBatch, InputToken, RowError, RowOutput, RowTokens, SampledTokens};
use spillway_tests::{Knobs, ManualClock};
use spillway_types::{BlockSize, ScoredToken, TokenId};

use crate::oracle::{Chooser, State, choose, state, vocab_size};

/// How likely steps and rows break, in a thousandth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The step cannot be launched.
    pub(crate) launch: u32,
    /// The step fails while it is computed.
    pub(crate) step: u32,
    /// The step is answered with too few rows.
    pub(crate) short_answer: u32,
    /// One row has no token.
    pub(crate) row: u32,
    /// The executor panics when the step is launched or collected.
    pub(crate) panic: u32,
}

/// The executor.
pub(crate) struct FakeExecutor {
    /// What is at each slot: `[num_blocks * block_size]`. A slot that was never written holds nothing.
    slots: Vec<Option<State>>,
    limits: BatchLimits,
    /// The last token that each row of the previous step sampled.
    previous: Vec<Option<TokenId>>,
    /// Results to be collected.
    results: VecDeque<Result<SampledTokens, ExecutorError>>,
    num_launched: u64,
    trouble: Trouble,
    random: StdRng,
    clock: Arc<ManualClock>,
}

impl FakeExecutor {
    pub(crate) fn new(knobs: &Knobs, trouble: Trouble, seed: u64, clock: Arc<ManualClock>) -> Self {
        let block_size = BlockSize::try_from(knobs.block_size).expect("a block size");
        Self {
            slots: vec![None; (knobs.num_blocks * knobs.block_size) as usize],
            limits: BatchLimits {
                max_num_batched_tokens: knobs.max_num_batched_tokens,
                max_num_seqs: knobs.max_num_seqs,
                vocab_size: vocab_size(),
                max_model_len: knobs.max_model_len,
                block_size,
                num_blocks: knobs.num_blocks,
                num_previous_rows: 0,
            },
            previous: Vec::new(),
            results: VecDeque::new(),
            num_launched: 0,
            trouble,
            random: StdRng::seed_from_u64(seed),
            clock,
        }
    }

    fn happens(&mut self, per_mille: u32) -> bool {
        self.random.random_range(0..1000) < per_mille
    }

    fn compute(&mut self, batch: &ForwardBatch) -> Result<SampledTokens, ExecutorError> {
        self.limits.num_previous_rows = self.previous.len() as u32;
        if let Err(error) = batch.check(&self.limits) {
            panic!("the engine made a batch that is not well formed: {error}");
        }
        let broken = Err(ExecutorError::Panicked { message: "a broken step".to_owned() });
        if self.happens(self.trouble.step) {
            self.previous = vec![None; batch.rows.len()];
            return broken;
        }
        let mut rows: Vec<RowTokens> =
            (0..batch.rows.len()).map(|row| self.compute_row(batch, row)).collect();
        self.previous = rows.iter().map(|row| Some(row.as_ref().ok()?.sampled.last()?.token)).collect();
        if self.happens(self.trouble.short_answer) {
            rows.pop();
        }
        Ok(SampledTokens { rows })
    }

    fn compute_row(&mut self, batch: &ForwardBatch, row_idx: usize) -> RowTokens {
        let row = &batch.rows[row_idx];
        let table = &batch.block_ids[row.blocks.start as usize..row.blocks.end as usize];
        let block_size = self.limits.block_size.tokens();
        let slot = |position: u32| {
            (table[(position / block_size) as usize].0 * block_size + position % block_size) as usize
        };
        let mut last = State::default();
        for token_idx in row.tokens.start as usize..row.tokens.end as usize {
            let position = batch.positions[token_idx];
            let token = match batch.tokens[token_idx] {
                InputToken::Known(token) => token,
                InputToken::Sampled { row } => self.previous[row as usize]
                    .ok_or(RowError::PreviousTokenMissing { position: position + 1 })?,
            };
            // A slot that nobody wrote reads as a state that no token has.
            let before = (0..position).map(|position| self.slots[slot(position)].unwrap_or_default());
            last = state(before, token);
            self.slots[slot(position)] = Some(last);
        }
        let Some(sampling) = &row.sample else { return Ok(RowOutput::default()) };
        if self.happens(self.trouble.row) {
            return Err(RowError::LogitsNotFinite { token_id: 0 });
        }
        let chooser = Chooser { sampling: sampling.sampling, seed: sampling.seed.0, choice: sampling.choice };
        assert_eq!(sampling.position, row.kv_len, "a token is sampled for the position after the last");
        let (token, logprob) = choose(last, chooser, sampling.position);
        let sampled = vec![ScoredToken { token, logprob, ranking: None }];
        Ok(RowOutput { scored: Vec::new(), sampled })
    }
}

impl Executor for FakeExecutor {
    fn launch(&mut self, batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        self.clock.advance(Duration::from_millis(self.random.random_range(0..50)));
        if self.happens(self.trouble.panic) {
            self.previous = vec![None; batch.rows.len()];
            panic!("a planted panic at launch");
        }
        if self.happens(self.trouble.launch) {
            // The step after this one may name rows of it.
            self.previous = vec![None; batch.rows.len()];
            return Err(ExecutorError::Panicked { message: "a step that was not launched".to_owned() });
        }
        let result = self.compute(&batch);
        self.results.push_back(result);
        self.num_launched += 1;
        Ok(StepTicket::new(self.num_launched))
    }

    fn collect(&mut self, step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        let oldest = self.num_launched + 1 - self.results.len() as u64;
        assert_eq!(step.launch(), oldest, "steps are collected in launch order");
        let result = self.results.pop_front().expect("a step was launched");
        // What was computed stays computed, and is lost.
        assert!(!self.happens(self.trouble.panic), "a planted panic at collection");
        result
    }
}

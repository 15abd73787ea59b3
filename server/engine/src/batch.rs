//! Turns the scheduler's plan of a step into the batch that an executor computes.

use std::ops::Range;
use std::sync::Arc;

use spillway_models::{BatchRow, ForwardBatch, InputToken, LogitRules, RowSampling, RowScoring};
use spillway_scheduler::{ScheduledRow, Scheduler, SchedulerOutput};
use spillway_types::{Sampling, Seed, TopLogprobs};

use crate::registry::Registry;

/// How the tokens of one sequence are chosen, and what is told of them.
#[derive(Debug, Clone)]
pub(crate) struct SeqSampling {
    pub(crate) sampling: Sampling,
    pub(crate) seed: Seed,
    pub(crate) choice: u32,
    pub(crate) prompt_len: u32,
    pub(crate) logprobs: Option<TopLogprobs>,
    pub(crate) rules: Option<Arc<LogitRules>>,
    pub(crate) scoring: Option<PromptScoring>,
}

impl SeqSampling {
    /// The same for another choice. All choices have one prompt; the first computes it, and scores it if any does.
    pub(crate) fn of_choice(&self, choice: u32) -> Self {
        let scoring = self.scoring.clone().filter(|_| choice == 0);
        Self { choice, scoring, ..self.clone() }
    }
}

/// The scoring of a prompt, as far as it has been planned.
#[derive(Debug, Clone)]
pub(crate) struct PromptScoring {
    prompt_len: u32,
    pub(crate) top: TopLogprobs,
    /// Position of the first token of the prompt that no step was asked to score. A sequence that was preempted and
    /// computes its prompt again goes on here.
    next_target: u32,
}

impl PromptScoring {
    /// Before the first step. Nothing stands before the first token, so the second is the first to be scored.
    pub(crate) fn new(prompt_len: u32, top: TopLogprobs) -> Self {
        Self { prompt_len, top, next_target: 1 }
    }

    /// The positions that a row scores which computes those up to `end`.
    fn take(&mut self, end: u32) -> Range<u32> {
        let targets = self.next_target..self.prompt_len.min(end + 1).max(self.next_target);
        self.next_target = targets.end;
        targets
    }
}

/// Lays out one step: tokens and positions of all rows one after the other, then their block tables.
///
/// A position past the tokens that the scheduler knows stands for the token that the step before this one samples.
///
/// # Panics
///
/// If the plan names a sequence that is not there: the scheduler has just planned it.
pub(crate) fn forward_batch(
    output: &SchedulerOutput,
    scheduler: &Scheduler,
    registry: &mut Registry,
) -> ForwardBatch {
    let num_tokens = output.rows.iter().map(|row| row.num_tokens as usize).sum();
    let mut batch = ForwardBatch {
        tokens: Vec::with_capacity(num_tokens),
        positions: Vec::with_capacity(num_tokens),
        rows: Vec::with_capacity(output.rows.len()),
        block_ids: Vec::new(),
        targets: Vec::new(),
        outputs: Vec::new(),
    };
    for row in &output.rows {
        let first_token = batch.tokens.len() as u32;
        push_tokens(&mut batch, row, scheduler);
        let first_block = batch.block_ids.len() as u32;
        let table = scheduler.block_table(row.seq_id).expect("a scheduled sequence has blocks");
        batch.block_ids.extend_from_slice(table);
        let seq = registry.sampling_mut(row.seq_id).expect("a scheduled sequence is registered");
        let score = score(&mut batch, row, scheduler, seq);
        let outputs = push_outputs(&mut batch, row, scheduler, seq);
        batch.rows.push(BatchRow {
            seq_id: row.seq_id,
            tokens: first_token..batch.tokens.len() as u32,
            kv_len: row.end(),
            blocks: first_block..batch.block_ids.len() as u32,
            score,
            sample: row.samples.then(|| RowSampling {
                sampling: seq.sampling,
                seed: seq.seed,
                choice: seq.choice,
                position: row.end(),
                logprobs: seq.logprobs,
                rules: seq.rules.clone(),
                outputs,
            }),
        });
    }
    batch
}

fn push_tokens(batch: &mut ForwardBatch, row: &ScheduledRow, scheduler: &Scheduler) {
    let known = scheduler.tokens(row.seq_id).expect("a scheduled sequence has tokens");
    let known = &known[row.start as usize..known.len().min(row.end() as usize)];
    batch.positions.extend(row.positions());
    batch.tokens.extend(known.iter().map(|&token| InputToken::Known(token)));
    if let Some(sampled_by) = row.sampled_by_row {
        batch.tokens.push(InputToken::Sampled { row: sampled_by });
    }
}

/// Lists what a row's sequence has generated, if it samples and its rules look at that. It is listed anew for each
/// step, which costs less than a pass over the vocabulary, and keeps no state that a preemption could spoil.
fn push_outputs(
    batch: &mut ForwardBatch,
    row: &ScheduledRow,
    scheduler: &Scheduler,
    seq: &SeqSampling,
) -> Range<u32> {
    let first = batch.outputs.len() as u32;
    if row.samples && seq.rules.as_ref().is_some_and(|rules| rules.look_at_outputs()) {
        let known = scheduler.tokens(row.seq_id).expect("a scheduled sequence has tokens");
        let generated = &known[seq.prompt_len as usize..known.len().min(row.end() as usize)];
        batch.outputs.extend(generated.iter().map(|&token| InputToken::Known(token)));
        batch.outputs.extend(row.sampled_by_row.map(|row| InputToken::Sampled { row }));
    }
    first..batch.outputs.len() as u32
}

/// What a row scores of its prompt, if that is wanted and not done.
fn score(
    batch: &mut ForwardBatch,
    row: &ScheduledRow,
    scheduler: &Scheduler,
    seq: &mut SeqSampling,
) -> Option<RowScoring> {
    let scoring = seq.scoring.as_mut()?;
    let positions = scoring.take(row.end());
    if positions.is_empty() {
        return None;
    }
    debug_assert!(row.start < positions.start, "a prompt that is scored is computed from its first token on");
    let known = scheduler.tokens(row.seq_id).expect("a scheduled sequence has tokens");
    let first = batch.targets.len() as u32;
    batch.targets.extend_from_slice(&known[positions.start as usize..positions.end as usize]);
    Some(RowScoring { targets: first..batch.targets.len() as u32, top: scoring.top })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_scored_once_however_it_is_cut() {
        let mut scoring = PromptScoring::new(10, TopLogprobs::NONE);
        // Chunks end at 4 and 7; then all is computed again, to the end of the prompt and past it.
        let ranges: Vec<_> = [4, 7, 3, 10, 12].into_iter().map(|end| scoring.take(end)).collect();
        assert_eq!(ranges, [1..5, 5..8, 8..8, 8..10, 10..10]);
        assert!(PromptScoring::new(1, TopLogprobs::NONE).take(1).is_empty(), "one token has no score");
    }
}

//! Turns the scheduler's plan of a step into the batch that an executor computes.

use spillway_models::{BatchRow, ForwardBatch, InputToken, RowSampling};
use spillway_scheduler::{ScheduledRow, Scheduler, SchedulerOutput};
use spillway_types::{Sampling, Seed, SeqId};

/// How the tokens of one sequence are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeqSampling {
    pub(crate) sampling: Sampling,
    pub(crate) seed: Seed,
    pub(crate) choice: u32,
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
    sampling: impl Fn(SeqId) -> SeqSampling,
) -> ForwardBatch {
    let num_tokens = output.rows.iter().map(|row| row.num_tokens as usize).sum();
    let mut batch = ForwardBatch {
        tokens: Vec::with_capacity(num_tokens),
        positions: Vec::with_capacity(num_tokens),
        rows: Vec::with_capacity(output.rows.len()),
        block_ids: Vec::new(),
    };
    for row in &output.rows {
        let first_token = batch.tokens.len() as u32;
        push_tokens(&mut batch, row, scheduler);
        let first_block = batch.block_ids.len() as u32;
        let table = scheduler.block_table(row.seq_id).expect("a scheduled sequence has blocks");
        batch.block_ids.extend_from_slice(table);
        batch.rows.push(BatchRow {
            seq_id: row.seq_id,
            tokens: first_token..batch.tokens.len() as u32,
            kv_len: row.end(),
            blocks: first_block..batch.block_ids.len() as u32,
            sample: row.samples.then(|| {
                let SeqSampling { sampling, seed, choice } = sampling(row.seq_id);
                RowSampling { sampling, seed, choice, position: row.end() }
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

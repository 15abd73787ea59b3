//! Reads a step's logits as they come: scores the tokens of prompts, samples the next ones.
//!
//! # Invariants
//!
//! - Logits come row after row of the batch; of a row's, the last are those that sample, if it does.

use spillway_types::TokenId;

use crate::batch::{BatchRow, ForwardBatch, RowError, RowOutput, RowTokens, SampledTokens};
use crate::model::Logits;
use crate::sampling::Sampler;

/// What came of a step so far.
pub(super) struct LogitsReader<'a> {
    batch: &'a ForwardBatch,
    /// The batch's outputs, all of them known.
    outputs: &'a [TokenId],
    sampler: &'a mut Sampler,
    rows: Vec<RowTokens>,
    /// The row whose logits come next, and how many of its have come.
    row_idx: usize,
    num_read: u32,
}

impl<'a> LogitsReader<'a> {
    /// Before the first logits. Rows that are orphans, marked in `is_orphan`, have failed already.
    pub(super) fn new(
        (batch, outputs): (&'a ForwardBatch, &'a [TokenId]),
        sampler: &'a mut Sampler,
        is_orphan: &[bool],
    ) -> Self {
        let outcome = |(row, &is_orphan): (&BatchRow, &bool)| {
            if is_orphan {
                Err(RowError::PreviousTokenMissing { position: row.kv_len })
            } else {
                Ok(RowOutput::default())
            }
        };
        let rows = batch.rows.iter().zip(is_orphan).map(outcome).collect();
        Self { batch, outputs, sampler, rows, row_idx: 0, num_read: 0 }
    }

    /// Takes the next slice of logits.
    pub(super) fn read(&mut self, logits: Logits<'_>) {
        for values in logits.rows() {
            while self.batch.rows.get(self.row_idx).is_some_and(|row| self.num_read == row.num_logits()) {
                self.row_idx += 1;
                self.num_read = 0;
            }
            if let Err(error) = self.read_one(values) {
                self.rows[self.row_idx] = Err(error);
            }
            self.num_read += 1;
        }
    }

    /// What came of every row.
    pub(super) fn finish(self) -> SampledTokens {
        SampledTokens { rows: self.rows }
    }

    fn read_one(&mut self, values: &[f32]) -> Result<(), RowError> {
        let (Some(row), Some(Ok(output))) =
            (self.batch.rows.get(self.row_idx), self.rows.get_mut(self.row_idx))
        else {
            return Ok(());
        };
        match (&row.score, &row.sample) {
            (Some(score), _) if (self.num_read as usize) < score.targets.len() => {
                let target = self.batch.targets[(score.targets.start + self.num_read) as usize];
                output.scored.push(self.sampler.score(values, target, score.top)?);
            }
            (_, Some(sampling)) => {
                let outputs = &self.outputs[sampling.outputs.start as usize..sampling.outputs.end as usize];
                output.sampled.push(self.sampler.sample(values, sampling, outputs)?);
            }
            (_, None) => {}
        }
        Ok(())
    }
}

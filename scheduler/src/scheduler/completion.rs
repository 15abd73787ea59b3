//! Learns what a step brought: appends tokens, finds ends, frees and caches blocks.

use spillway_types::{SeqId, StepId, TokenId};

use super::{PlannedRow, PlannedStep, Scheduler};
use crate::sequence::Accepted;
use crate::{RowResult, SequenceUpdate};

impl Scheduler {
    /// Takes the results of a step, one for each of its rows, and tells what they mean, in the order of the rows.
    ///
    /// Rows that brought no new token have no update, nor have those of sequences that ended since the step was
    /// planned. A sequence that was preempted since keeps its tokens.
    ///
    /// # Panics
    ///
    /// If `step` is not the oldest planned step, or there are not as many results as rows, or a row that does not
    /// sample brings a token: the caller would hand tokens to the wrong sequences.
    pub fn complete(&mut self, step: StepId, results: &[RowResult]) -> Vec<SequenceUpdate> {
        let oldest = self.in_flight.pop_front();
        let PlannedStep { rows, .. } = oldest
            .filter(|planned| planned.step == step)
            .expect("steps are completed in the order of their planning");
        assert_eq!(results.len(), rows.len(), "step {step} has as many results as rows");
        let mut updates = Vec::with_capacity(rows.len());
        for (row_idx, (planned, result)) in rows.iter().zip(results).enumerate() {
            updates.extend(self.complete_row(row_idx as u32, planned, &result.tokens));
        }
        self.recycle_rows(rows);
        updates
    }

    /// Gives up a step that broke, or that could not be launched. Its sequences end, and their blocks are freed; the
    /// caller tells their clients. It need not be the oldest step: rows of these sequences in others come to nothing.
    ///
    /// # Panics
    ///
    /// If `step` is not in flight.
    pub fn fail(&mut self, step: StepId) -> Vec<SeqId> {
        let position = self.in_flight.iter().position(|planned| planned.step == step);
        let removed = position.and_then(|position| self.in_flight.remove(position));
        let PlannedStep { rows, .. } = removed.expect("a step that fails is in flight");
        let mut failed = Vec::with_capacity(rows.len());
        for planned in &rows {
            let seq_id = planned.row.seq_id;
            if self.tokens(seq_id).is_some() {
                self.finish(seq_id);
                failed.push(seq_id);
            }
        }
        self.recycle_rows(rows);
        failed
    }

    fn recycle_rows(&mut self, mut rows: Vec<PlannedRow>) {
        rows.clear();
        self.buffers.planned_rows.push(rows);
    }

    /// Takes one row's result. Nothing to tell if its sequence has ended, or it brought no new token.
    fn complete_row(
        &mut self,
        row_idx: u32,
        planned: &PlannedRow,
        tokens: &[TokenId],
    ) -> Option<SequenceUpdate> {
        let PlannedRow { row, epoch } = planned;
        assert!(row.samples || tokens.is_empty(), "a row that does not sample brings no token");
        let (sequence, accepted) = if let Some(running) = self.running.get_mut(&row.seq_id) {
            let accepted = running.complete(row, *epoch, tokens)?;
            if self.config.prefix_caching {
                running.enter_blocks(&mut self.pool, self.config.block_size);
            }
            if running.sequence.has_parked_siblings && running.prompt_blocks(self.config.block_size).is_some()
            {
                running.sequence.has_parked_siblings = false;
                let request = self.requests.get(running.sequence.request_id);
                let request = request.expect("a request is kept while it has sequences");
                self.waiting.unpark(request.first, request.n);
            }
            (&running.sequence, accepted)
        } else {
            let preempted = self.waiting.get_mut(row.seq_id)?;
            let accepted = preempted.complete(row, *epoch, tokens)?;
            (&preempted.sequence, accepted)
        };
        let Accepted { range: accepted, finish } = accepted;
        if accepted.is_empty() {
            return None;
        }
        let update = SequenceUpdate {
            seq_id: row.seq_id,
            request_id: sequence.request_id,
            choice: sequence.choice,
            row: row_idx,
            accepted,
            finish,
            cached_tokens: sequence.cached_tokens.unwrap_or(0),
        };
        if finish.is_some() {
            self.finish(row.seq_id);
        }
        Some(update)
    }
}

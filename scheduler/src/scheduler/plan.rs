//! Plans one step: rows for running sequences, and preemption when they outgrow the pool.

use std::time::Duration;

use spillway_types::SeqId;

use super::{PlannedRow, PlannedStep, Scheduler};
use crate::SchedulerOutput;
use crate::sequence::{RowRef, RunningSequence};

/// A step while it is being planned.
pub(super) struct Draft {
    pub(super) output: SchedulerOutput,
    pub(super) planned_rows: Vec<PlannedRow>,
    /// Tokens that may still be handed out.
    pub(super) budget: u32,
}

impl Draft {
    /// Where the next row goes.
    pub(super) fn next_row(&self) -> RowRef {
        RowRef { step: self.output.step, row: self.output.rows.len() as u32 }
    }
}

impl Scheduler {
    /// Plans the next step, at the time `now` since the start.
    ///
    /// Nothing is planned if there is nothing to compute before a step in flight is complete, or if as many steps are
    /// in flight as may be.
    pub fn schedule(&mut self, now: Duration) -> Option<SchedulerOutput> {
        self.now = self.now.max(now);
        if self.in_flight.len() >= self.config.max_in_flight_steps.get() as usize {
            return None;
        }
        let mut draft = self.new_draft();
        let num_preemptions = self.counts.preemptions;
        self.sort_running();
        self.plan_running(&mut draft);
        if self.counts.preemptions == num_preemptions {
            self.admit_waiting(&mut draft);
        }
        if draft.output.rows.is_empty() {
            self.buffers.output = draft.output;
            self.buffers.planned_rows.push(draft.planned_rows);
            return None;
        }
        draft.output.num_tokens = self.config.max_num_batched_tokens.get() - draft.budget;
        draft.output.preempted.append(&mut self.preempted);
        self.next_step.0 += 1;
        self.in_flight.push_back(PlannedStep { step: draft.output.step, rows: draft.planned_rows });
        Some(draft.output)
    }

    /// An empty step in recycled memory.
    fn new_draft(&mut self) -> Draft {
        let mut output = std::mem::take(&mut self.buffers.output);
        output.step = self.next_step;
        output.rows.clear();
        output.admitted.clear();
        output.preempted.clear();
        let planned_rows = self.buffers.planned_rows.pop().unwrap_or_default();
        Draft { output, planned_rows, budget: self.config.max_num_batched_tokens.get() }
    }

    /// Brings the order up to date with ends and ageing. It is nearly sorted already, which the sort makes use of.
    fn sort_running(&mut self) {
        let (running, ageing, now) = (&self.running, self.ageing, self.now);
        self.order.retain_mut(|rank| match running.get(&rank.seq_id) {
            Some(seq) => {
                *rank = ageing.rank(&seq.sequence, now);
                true
            }
            None => false,
        });
        self.order.sort_unstable();
    }

    /// Gives every running sequence what it needs, oldest first, as far as the budget goes. Decodes always get their
    /// token: it is set aside before an older prompt takes the rest.
    fn plan_running(&mut self, draft: &mut Draft) {
        let mut num_decodes = self.order.iter().filter(|rank| self.needed(rank.seq_id) == 1).count() as u32;
        let mut idx = 0;
        while idx < self.order.len() {
            let seq_id = self.order[idx].seq_id;
            let needed = self.needed(seq_id);
            if needed == 1 {
                num_decodes -= 1;
            }
            let num_tokens = needed.min(draft.budget - num_decodes).min(self.config.max_chunk());
            if num_tokens > 0 {
                if !self.make_room(idx, num_tokens, &mut num_decodes) {
                    return;
                }
                self.plan_row(seq_id, num_tokens, draft);
            }
            idx += 1;
        }
    }

    /// Positions that a running sequence could have computed.
    fn needed(&self, seq_id: SeqId) -> u32 {
        self.running.get(&seq_id).map_or(0, RunningSequence::needed)
    }

    /// Sees to blocks for `num_tokens` more tokens of the running sequence at `idx`, preempting the last in line as
    /// long as there are too few. False if that was the sequence itself.
    fn make_room(&mut self, idx: usize, num_tokens: u32, num_decodes: &mut u32) -> bool {
        let seq_id = self.order[idx].seq_id;
        loop {
            let running = self.running.get_mut(&seq_id).expect("the order names running sequences");
            let num_blocks = self.config.block_size.blocks_for(running.computed + num_tokens);
            if running.table.len() >= num_blocks {
                return true;
            }
            if self.pool.grow(&mut running.table).is_ok() {
                continue;
            }
            let last = self.order[self.order.len() - 1].seq_id;
            if last != seq_id && self.needed(last) == 1 {
                *num_decodes -= 1;
            }
            self.preempt_last();
            if last == seq_id {
                return false;
            }
        }
    }

    /// Takes the blocks of the last in line, which goes back to the queue.
    fn preempt_last(&mut self) {
        let last = self.order.pop().and_then(|rank| self.running.remove(&rank.seq_id));
        let (waiting, table) = last.expect("the order names running sequences").preempt();
        self.pool.release(table);
        self.requests.note_waiting(waiting.sequence.request_id);
        self.preempted.push(waiting.sequence.seq_id);
        self.counts.preemptions += 1;
        self.waiting.push(waiting);
    }

    /// Adds a row of `num_tokens` tokens, for which there are blocks.
    pub(super) fn plan_row(&mut self, seq_id: SeqId, num_tokens: u32, draft: &mut Draft) {
        let running = self.running.get_mut(&seq_id).expect("only running sequences get rows");
        let row = running.plan(num_tokens, draft.next_row());
        draft.budget -= num_tokens;
        draft.output.rows.push(row);
        draft.planned_rows.push(PlannedRow { row, epoch: running.sequence.epoch });
    }
}

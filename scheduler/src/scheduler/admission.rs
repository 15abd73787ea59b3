//! Lets waiting sequences run, while budget, places and blocks last.

use spillway_types::SeqId;

use super::Scheduler;
use super::plan::Draft;
use crate::{Admission, PrefixUse};

/// The first in line did not fit when so many blocks were free. It is not tried again before more are, since looking
/// for a long prompt's blocks in every step would cost more than planning the step. It fits at the latest when nobody
/// runs, since all blocks are free then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    seq_id: SeqId,
    num_free: u32,
}

impl Scheduler {
    /// Admits waiting sequences in order of rank, until one does not fit. Nobody overtakes it, so nobody starves.
    ///
    /// A sequence is admitted with blocks for all its known tokens, though its prompt may take several steps: a prompt
    /// that is being computed never has to be preempted for its own sake.
    pub(super) fn admit_waiting(&mut self, draft: &mut Draft) {
        while draft.budget > 0 && self.running.len() < self.config.max_num_seqs.get() as usize {
            if !self.admit_first(draft) {
                return;
            }
        }
    }

    /// Admits the first in line. False if there is none, or no room for it yet.
    fn admit_first(&mut self, draft: &mut Draft) -> bool {
        let num_free = self.pool.num_free();
        if num_free == 0 || !self.find_shared_blocks() {
            return false;
        }
        let block_size = self.config.block_size;
        let first = self.waiting.first_mut(self.now).expect("shared blocks were looked up for it");
        let (seq_id, known_len) = (first.sequence.seq_id, first.sequence.known_len());
        let num_shared = self.buffers.found_blocks.len() as u32;
        let num_new = block_size.blocks_for(known_len) - num_shared;
        let Ok(table) = self.pool.lend(&self.buffers.found_blocks, num_new) else {
            self.refusal = Some(Refusal { seq_id, num_free });
            return false;
        };

        let waiting = self.waiting.remove(seq_id).expect("it was first in line");
        self.requests.note_not_waiting(waiting.sequence.request_id);
        let resumed = waiting.sequence.cached_tokens.is_some();
        let running = waiting.admit(table, num_shared, block_size);
        let cached_tokens = running.computed;
        let may_hit = self.config.prefix_caching && running.sequence.prefix == PrefixUse::Reuse;
        if !resumed && may_hit {
            self.counts.prefix_query_tokens += u64::from(known_len);
            self.counts.prefix_hit_tokens += u64::from(cached_tokens);
        }
        let request_id = running.sequence.request_id;
        draft.output.admitted.push(Admission { seq_id, request_id, cached_tokens, resumed });
        self.order.push(self.ageing.rank(&running.sequence, self.now));
        let num_tokens = running.needed().min(draft.budget).min(self.config.max_chunk());
        self.running.insert(seq_id, running);
        self.plan_row(seq_id, num_tokens, draft);
        true
    }

    /// Lists the computed blocks that the first in line can begin with, from the prefix cache or from its leader.
    /// At least one token is left to compute, since its logits are needed. False if it cannot be admitted yet.
    fn find_shared_blocks(&mut self) -> bool {
        let Some(first) = self.waiting.first_mut(self.now).filter(|first| first.is_ready()) else {
            return false;
        };
        let sequence = &mut first.sequence;
        let still_refuses =
            |refusal: Refusal| refusal.seq_id == sequence.seq_id && self.pool.num_free() <= refusal.num_free;
        if self.refusal.is_some_and(still_refuses) {
            return false;
        }
        let found = &mut self.buffers.found_blocks;
        found.clear();
        if self.config.prefix_caching && sequence.prefix == PrefixUse::Reuse {
            let max_blocks = (sequence.tokens.len() - 1) / self.config.block_size.tokens() as usize;
            self.pool.find_prefix(&mut sequence.chain, &sequence.tokens, max_blocks, found);
        }
        let leader = sequence.leader().and_then(|leader| self.running.get(&leader));
        let prompt_blocks = leader.and_then(|leader| leader.prompt_blocks(self.config.block_size));
        if let Some(blocks) = prompt_blocks.filter(|blocks| blocks.len() > found.len()) {
            found.clear();
            found.extend_from_slice(blocks);
        }
        true
    }
}

//! Hands out each step's token budget: the state machine between requests and forward passes.
//!
//! Running sequences come first, oldest first, then waiting ones. What a sequence needs is the number of expected
//! positions that are not computed, so chunked prefill, prefix hits, decodes and recompute are one rule
//! ([`crate::sequence`]). A step may be planned while others are uncompleted: a sampled token that has not come back is
//! only counted. Executors run steps in the order of their planning, so a freed block may be lent again at once.
//!
//! # Invariants
//!
//! - Steps are completed in the order of their planning; one that fails is left out.
//! - At most one row for a sequence in a step, and never more than `max_num_batched_tokens` tokens.
//! - The oldest sequence of the highest class is never preempted, so it finishes, and then the next one is the oldest.
//! - A token is appended once, at its position, whatever was preempted in between.
//! - When idle, all blocks are free.
//!
//! In a request's path: `submit` after tokenising; `schedule` and `complete` around each forward pass.
//! Source: continuous batching of Yu et al., "Orca", OSDI 2022; chunked prefill of Agrawal et al., "Sarathi-Serve",
//! OSDI 2024.

mod admission;
mod check;
mod completion;
mod plan;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use spillway_types::{BlockId, RequestId, SeqId, StepId, TokenId};

use crate::block_pool::BlockPool;
use crate::prefix_cache::BlockChain;
use crate::requests::Requests;
use crate::sequence::{RunningSequence, Sequence, WaitingSequence};
use crate::waiting_queue::{Ageing, Rank, WaitingQueue};
use crate::{
    ConfigError, PrefixUse, ScheduledRow, SchedulerConfig, SchedulerOutput, SchedulerStats, SubmitError,
    SubmitRequest,
};

/// Decides what every step computes, and learns what came of it.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    ageing: Ageing,
    pool: BlockPool,
    requests: Requests,
    waiting: WaitingQueue,
    running: HashMap<SeqId, RunningSequence>,
    /// Running sequences by rank; may still name some that have ended.
    order: Vec<Rank>,
    /// Planned steps that are not completed, oldest first.
    in_flight: VecDeque<PlannedStep>,
    /// Why the first in line was not admitted, if it was tried.
    refusal: Option<admission::Refusal>,
    /// Preempted since the last planned step.
    preempted: Vec<SeqId>,
    next_seq_id: SeqId,
    next_step: StepId,
    /// The latest time heard of; time never runs backwards.
    now: Duration,
    counts: Counts,
    buffers: Buffers,
}

/// A step in flight.
#[derive(Debug)]
struct PlannedStep {
    step: StepId,
    rows: Vec<PlannedRow>,
}

/// A row in flight, with the epoch of its sequence.
#[derive(Debug, Clone, Copy)]
struct PlannedRow {
    row: ScheduledRow,
    epoch: u32,
}

/// What has been done since the start.
#[derive(Debug, Default)]
struct Counts {
    preemptions: u64,
    prefix_query_tokens: u64,
    prefix_hit_tokens: u64,
}

/// Memory that is used again, so that planning a step rarely allocates.
#[derive(Debug, Default)]
struct Buffers {
    output: SchedulerOutput,
    planned_rows: Vec<Vec<PlannedRow>>,
    found_blocks: Vec<BlockId>,
}

impl Scheduler {
    /// A scheduler without work.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the values do not fit together.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let ageing = Ageing { interval: config.ageing_interval };
        Ok(Self {
            config,
            ageing,
            pool: BlockPool::new(config.num_blocks.get(), config.block_size),
            requests: Requests::default(),
            waiting: WaitingQueue::new(ageing),
            running: HashMap::new(),
            order: Vec::new(),
            in_flight: VecDeque::new(),
            refusal: None,
            preempted: Vec::new(),
            next_seq_id: SeqId(0),
            next_step: StepId(1),
            now: Duration::ZERO,
            counts: Counts::default(),
            buffers: Buffers::default(),
        })
    }

    /// Takes a request in. Returns its sequences, one for each choice, in order.
    ///
    /// With `n > 1` only the first sequence stands in line at once; its siblings follow when its prompt is computed and
    /// share the prompt's full blocks.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] if the request can never be served, or not now; nothing has changed then.
    pub fn submit(&mut self, request: SubmitRequest, now: Duration) -> Result<Vec<SeqId>, SubmitError> {
        self.now = self.now.max(now);
        let prompt_len = self.admissible_prompt_len(&request)?;
        let n = request.n.get();
        let first = self.next_seq_id;
        self.next_seq_id.0 += u64::from(n);
        self.requests.add(request.request_id, first, n);
        let mut template = self.template(&request, prompt_len);
        template.likely_cached = self.likely_cached(&mut template, &request.prompt);
        for (choice, tokens) in (0..n).zip(std::iter::repeat_n(request.prompt, n as usize)) {
            let seq_id = SeqId(first.0 + u64::from(choice));
            let mut sequence = Sequence { seq_id, choice, tokens, ..template.clone() };
            if choice > 0 {
                sequence.prefix = PrefixUse::Reuse;
            }
            let shares = n > 1 && sequence.shareable_blocks(self.config.block_size) > 0;
            sequence.has_parked_siblings = shares && choice == 0;
            let waiting = WaitingSequence { sequence: Box::new(sequence) };
            if shares && choice > 0 {
                self.waiting.park(waiting);
            } else {
                self.waiting.push(waiting);
            }
        }
        Ok((0..n).map(|choice| SeqId(first.0 + u64::from(choice))).collect())
    }

    /// Ends all sequences of a request. Rows of it in flight come to nothing. An unknown request has ended already.
    pub fn abort(&mut self, request_id: RequestId) {
        let Some(request) = self.requests.get(request_id) else { return };
        // The leader goes last, so that its siblings are not let into the queue only to be taken out again.
        for seq_id in request.seq_ids().rev() {
            self.finish(seq_id);
        }
    }

    /// Ends one sequence, as when a stop string was found in its text. An unknown sequence has ended already.
    pub fn finish(&mut self, seq_id: SeqId) {
        let sequence = if let Some(running) = self.running.remove(&seq_id) {
            self.pool.release(running.table);
            running.sequence
        } else if let Some(waiting) = self.waiting.remove(seq_id) {
            self.requests.note_not_waiting(waiting.sequence.request_id);
            waiting.sequence
        } else {
            return;
        };
        if let Some(request) = self.requests.get(sequence.request_id).filter(|_| sequence.has_parked_siblings)
        {
            self.waiting.unpark(request.first, request.n);
        }
        self.requests.note_ended(sequence.request_id);
    }

    /// Gives a step's buffers back, so that the next one need not allocate.
    pub fn recycle(&mut self, output: SchedulerOutput) {
        self.buffers.output = output;
    }

    /// The known tokens of a sequence, prompt and output; nothing once it has ended.
    pub fn tokens(&self, seq_id: SeqId) -> Option<&[TokenId]> {
        let running = self.running.get(&seq_id).map(|running| &running.sequence);
        let sequence = running.or_else(|| self.waiting.get(seq_id).map(|waiting| &waiting.sequence))?;
        Some(&sequence.tokens)
    }

    /// The blocks of a running sequence in the order of its positions.
    ///
    /// Read it for a planned step before any other call, which may change it.
    pub fn block_table(&self, seq_id: SeqId) -> Option<&[BlockId]> {
        self.running.get(&seq_id).map(|running| running.table.ids())
    }

    /// Whether there is no sequence and no step in flight.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0 && self.in_flight.is_empty()
    }

    /// The configuration given at the start.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Prompt tokens that no planned step computes: of sequences in line, less what the cache held when they came, and
    /// the rest of prompts that are being computed. Preempted sequences count with all that they compute again.
    pub fn queued_prompt_tokens(&self) -> u64 {
        let in_line = self.waiting.in_line().map(|waiting| waiting.sequence.likely_uncached());
        let begun =
            self.running.values().map(|running| running.sequence.prompt_len.saturating_sub(running.computed));
        in_line.chain(begun).map(u64::from).sum()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            num_running: self.running.len() as u32,
            num_waiting: self.waiting.len(),
            num_waiting_requests: self.requests.num_waiting(),
            num_in_flight_steps: self.in_flight.len() as u32,
            num_blocks: self.pool.capacity(),
            used_blocks: self.pool.capacity() - self.pool.num_free(),
            cached_blocks: self.pool.num_cached(),
            num_steps: self.next_step.0 - 1,
            num_preemptions: self.counts.preemptions,
            prefix_query_tokens: self.counts.prefix_query_tokens,
            prefix_hit_tokens: self.counts.prefix_hit_tokens,
        }
    }

    /// Tokens of a prompt that the prefix cache holds now.
    fn likely_cached(&mut self, sequence: &mut Sequence, prompt: &[TokenId]) -> u32 {
        if !self.config.prefix_caching || sequence.prefix != PrefixUse::Reuse {
            return 0;
        }
        let block_tokens = self.config.block_size.tokens();
        let max_blocks = (prompt.len() - 1) / block_tokens as usize;
        self.pool.find_prefix(&mut sequence.chain, prompt, max_blocks, &mut self.buffers.found_blocks);
        self.buffers.found_blocks.len() as u32 * block_tokens
    }

    /// The length of the prompt, if the request can be taken.
    fn admissible_prompt_len(&self, request: &SubmitRequest) -> Result<u32, SubmitError> {
        let prompt_tokens = u32::try_from(request.prompt.len()).unwrap_or(u32::MAX);
        let max_tokens = self.config.max_model_len.get() - 1;
        if prompt_tokens == 0 {
            return Err(SubmitError::PromptEmpty);
        }
        if prompt_tokens > max_tokens {
            return Err(SubmitError::PromptTooLong { prompt_tokens, max_tokens });
        }
        let needed_blocks = self.config.block_size.blocks_for(prompt_tokens);
        let num_blocks = self.pool.capacity();
        if needed_blocks > num_blocks {
            return Err(SubmitError::NeverFits { needed_blocks, num_blocks });
        }
        if self.requests.get(request.request_id).is_some() {
            return Err(SubmitError::DuplicateRequest { request_id: request.request_id });
        }
        let (waiting, max_waiting) = (self.requests.num_waiting(), self.config.max_waiting.get());
        if waiting >= max_waiting {
            return Err(SubmitError::QueueFull { waiting, max_waiting });
        }
        Ok(prompt_tokens)
    }

    /// What all sequences of a request have in common; ids and tokens are still to be filled in.
    fn template(&self, request: &SubmitRequest, prompt_len: u32) -> Sequence {
        let max_output = request.max_tokens.map_or(u32::MAX, NonZeroU32::get);
        Sequence {
            seq_id: self.next_seq_id,
            request_id: request.request_id,
            choice: 0,
            priority: request.priority,
            submitted: self.now,
            prompt_len,
            max_len: prompt_len.saturating_add(max_output).min(self.config.max_sequence_len()),
            end_tokens: request.end_tokens.clone(),
            tokens: Vec::new(),
            expected_len: prompt_len,
            chain: BlockChain::new(request.cache_salt.as_ref()),
            prefix: request.prefix,
            likely_cached: 0,
            cached_tokens: None,
            rows_in_flight: 0,
            epoch: 0,
            has_parked_siblings: false,
        }
    }
}

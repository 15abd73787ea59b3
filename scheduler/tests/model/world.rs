//! A scheduler with a device and clients, who check everything that reaches them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use spillway_scheduler::{
    PrefixUse, RowResult, Scheduler, SchedulerConfig, SchedulerOutput, SequenceUpdate, SubmitError,
    SubmitRequest,
};
use spillway_types::{BlockSize, CacheSalt, FinishReason, Priority, RequestId, SeqId, TokenId};

use crate::device::{Device, END, undisturbed};
use crate::{Event, NewRequest};

/// A configuration in small numbers.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) depth: u32,
    pub(crate) block_size: u32,
    pub(crate) num_blocks: u32,
    pub(crate) max_num_seqs: u32,
    pub(crate) max_num_batched_tokens: u32,
    pub(crate) chunk: Option<u32>,
    pub(crate) prefix_caching: bool,
    pub(crate) max_model_len: u32,
    /// Every sampling row brings exactly one token.
    pub(crate) steady: bool,
}

/// How often everything happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) preemptions: u64,
    pub(crate) prefix_hit_tokens: u64,
    pub(crate) shared_by_siblings: u64,
    pub(crate) whole_sequences: u64,
    pub(crate) ends_by_token: u64,
    pub(crate) ends_by_length: u64,
    pub(crate) rows_without_token: u64,
    pub(crate) rows_with_several_tokens: u64,
    pub(crate) failed_sequences: u64,
    pub(crate) unknown_inputs: u64,
    pub(crate) tokens_after_preemption: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.preemptions += other.preemptions;
        self.prefix_hit_tokens += other.prefix_hit_tokens;
        self.shared_by_siblings += other.shared_by_siblings;
        self.whole_sequences += other.whole_sequences;
        self.ends_by_token += other.ends_by_token;
        self.ends_by_length += other.ends_by_length;
        self.rows_without_token += other.rows_without_token;
        self.rows_with_several_tokens += other.rows_with_several_tokens;
        self.failed_sequences += other.failed_sequences;
        self.unknown_inputs += other.unknown_inputs;
        self.tokens_after_preemption += other.tokens_after_preemption;
    }
}

/// What one client's sequence has seen and should see.
#[derive(Debug)]
struct Client {
    seen: Vec<TokenId>,
    expected: Vec<TokenId>,
    reason: FinishReason,
}

/// A step in flight, already computed.
struct Launched {
    output: SchedulerOutput,
    results: Vec<RowResult>,
}

pub(crate) struct World {
    scheduler: Scheduler,
    setup: Setup,
    device: Device,
    now: Duration,
    next_request: u64,
    live_requests: Vec<RequestId>,
    clients: HashMap<SeqId, Client>,
    live_seqs: Vec<SeqId>,
    seeds: HashMap<SeqId, u64>,
    in_flight: VecDeque<Launched>,
    waiting_after_preemption: HashSet<SeqId>,
    tally: Tally,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let count = |value| NonZeroU32::new(value).expect("setups have no zeros");
        let config = SchedulerConfig {
            block_size: BlockSize::try_from(setup.block_size).expect("a block size"),
            num_blocks: count(setup.num_blocks),
            max_num_batched_tokens: count(setup.max_num_batched_tokens),
            max_num_seqs: count(setup.max_num_seqs),
            max_waiting: count(12),
            max_model_len: count(setup.max_model_len),
            max_in_flight_steps: count(setup.depth),
            prefix_caching: setup.prefix_caching,
            ageing_interval: Duration::from_mins(1),
            long_prefill_threshold: setup.chunk.map(count),
        };
        Self {
            scheduler: Scheduler::new(config).expect("a valid configuration"),
            setup: setup.clone(),
            device: Device::new(setup.block_size),
            now: Duration::ZERO,
            next_request: 0,
            live_requests: Vec::new(),
            clients: HashMap::new(),
            live_seqs: Vec::new(),
            seeds: HashMap::new(),
            in_flight: VecDeque::new(),
            waiting_after_preemption: HashSet::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        match *event {
            Event::Submit(ref request) => self.submit(request),
            Event::Plan => self.plan(None),
            Event::Complete { luck } => {
                self.complete();
                self.plan(Some(luck).filter(|_| !self.setup.steady));
            }
            Event::Fail { newest } => self.fail(newest),
            Event::Abort { request_idx } if !self.live_requests.is_empty() => {
                let request_id = self.live_requests.swap_remove(request_idx % self.live_requests.len());
                self.scheduler.abort(request_id);
                self.forget_ended();
            }
            Event::Finish { seq_idx } if !self.live_seqs.is_empty() => {
                self.scheduler.finish(self.live_seqs[seq_idx % self.live_seqs.len()]);
                self.forget_ended();
            }
            Event::Abort { .. } | Event::Finish { .. } => {}
            Event::Wait { seconds } => self.now += Duration::from_secs(seconds.into()),
        }
        self.scheduler.check().expect("invariants hold");
    }

    /// Lets everything end by itself: it must, in bounded time, and give all blocks back.
    pub(crate) fn drain(&mut self) {
        let mut num_steps = 0;
        while !self.scheduler.is_idle() {
            self.plan(None);
            self.complete();
            self.scheduler.check().expect("invariants hold");
            num_steps += 1;
            assert!(num_steps < 20_000, "a live-lock: {:?}", self.scheduler.stats());
        }
        assert_eq!(self.scheduler.stats().used_blocks, 0, "all blocks are free when idle");
        assert!(self.live_seqs.is_empty(), "every sequence has ended");
    }

    pub(crate) fn tally(mut self) -> Tally {
        let stats = self.scheduler.stats();
        self.tally.preemptions = stats.num_preemptions;
        self.tally.prefix_hit_tokens = stats.prefix_hit_tokens;
        self.tally
    }

    fn submit(&mut self, request: &NewRequest) {
        let request_id = RequestId(self.next_request);
        self.next_request += 1;
        let shared = (0..request.shared_len).map(|at| TokenId(100 + at));
        let own = (0..request.own_len).map(|at| TokenId(1000 * (request_id.0 as u32 + 1) + at));
        let prompt: Vec<TokenId> = shared.chain(own).collect();
        let prompt_len = prompt.len() as u32;
        let end_tokens: &[TokenId] = if request.ignores_end { &[] } else { &[END] };
        let submitted = self.scheduler.submit(
            SubmitRequest {
                request_id,
                prompt: prompt.clone(),
                n: NonZeroU32::new(request.n).expect("at least one"),
                max_tokens: NonZeroU32::new(request.max_tokens),
                end_tokens: Arc::from(end_tokens),
                priority: Priority::ALL[request.priority],
                cache_salt: request.salted.then(|| CacheSalt::new("salt")),
                prefix: if request.computes_all { PrefixUse::ComputeAll } else { PrefixUse::Reuse },
            },
            self.now,
        );
        let pool_tokens = self.setup.num_blocks * self.setup.block_size;
        let seq_ids = match submitted {
            Ok(seq_ids) => seq_ids,
            Err(SubmitError::NeverFits { needed_blocks, num_blocks }) => {
                assert!(needed_blocks > num_blocks && prompt_len > pool_tokens, "it would have fitted");
                return;
            }
            Err(SubmitError::PromptTooLong { .. }) => {
                assert!(prompt_len >= self.setup.max_model_len, "it is not too long");
                return;
            }
            Err(SubmitError::QueueFull { waiting, max_waiting }) => {
                assert!(waiting >= max_waiting, "the queue is not full");
                return;
            }
            Err(error) => panic!("unexpected: {error}"),
        };
        let max_len = (prompt_len + request.max_tokens).min(self.setup.max_model_len).min(pool_tokens + 1);
        for (choice, seq_id) in seq_ids.into_iter().enumerate() {
            let seed = request_id.0 * 16 + choice as u64;
            let expected = undisturbed(&prompt, seed, max_len, request.ignores_end);
            let ends_by_token = !request.ignores_end && expected.last() == Some(&END);
            let reason = if ends_by_token { FinishReason::Stop } else { FinishReason::Length };
            self.clients.insert(seq_id, Client { seen: Vec::new(), expected, reason });
            self.seeds.insert(seq_id, seed);
            self.live_seqs.push(seq_id);
        }
        self.live_requests.push(request_id);
    }

    fn plan(&mut self, luck: Option<u64>) {
        let num_in_flight = self.in_flight.len() as u32;
        let Some(output) = self.scheduler.schedule(self.now) else {
            let must_plan = num_in_flight == 0 && !self.live_seqs.is_empty();
            assert!(!must_plan, "there is work and nothing in flight, yet nothing is planned");
            return;
        };
        assert!(num_in_flight < self.setup.depth, "too many steps are in flight");
        self.check_output(&output);
        let results = self.device.launch(&self.scheduler, &output, &self.seeds, luck);
        for (row, result) in output.rows.iter().zip(&results) {
            self.tally.unknown_inputs += u64::from(row.sampled_by_row.is_some());
            self.tally.rows_without_token += u64::from(row.samples && result.tokens.is_empty());
            self.tally.rows_with_several_tokens += u64::from(result.tokens.len() > 1);
        }
        self.in_flight.push_back(Launched { output, results });
    }

    fn check_output(&mut self, output: &SchedulerOutput) {
        let num_tokens: u32 = output.rows.iter().map(|row| row.num_tokens).sum();
        assert_eq!(num_tokens, output.num_tokens);
        assert!(num_tokens <= self.setup.max_num_batched_tokens, "over the budget");
        assert!(output.rows.len() as u32 <= self.setup.max_num_seqs, "too many sequences");
        let seq_ids: HashSet<SeqId> = output.rows.iter().map(|row| row.seq_id).collect();
        assert_eq!(seq_ids.len(), output.rows.len(), "one row for a sequence");
        for seq_id in &output.preempted {
            self.waiting_after_preemption.insert(*seq_id);
        }
        for admission in &output.admitted {
            assert!(seq_ids.contains(&admission.seq_id), "an admitted sequence has a row");
            self.waiting_after_preemption.remove(&admission.seq_id);
            if !self.setup.prefix_caching {
                self.tally.shared_by_siblings += u64::from(admission.cached_tokens > 0);
            }
        }
    }

    fn complete(&mut self) {
        let Some(Launched { output, results }) = self.in_flight.pop_front() else { return };
        let updates = self.scheduler.complete(output.step, &results);
        for update in &updates {
            assert_eq!(output.rows[update.row as usize].seq_id, update.seq_id, "an update names its row");
            let tokens = &results[update.row as usize].tokens[update.accepted.clone()];
            self.see(update, tokens);
        }
        self.scheduler.recycle(output);
        self.forget_ended();
    }

    /// A client gets news: the next of the expected tokens, and the end with the last of them.
    fn see(&mut self, update: &SequenceUpdate, tokens: &[TokenId]) {
        let client = self.clients.get_mut(&update.seq_id).expect("its client is there");
        client.seen.extend_from_slice(tokens);
        assert!(client.expected.starts_with(&client.seen), "{} saw {:?}", update.seq_id, client);
        let is_whole = client.seen.len() == client.expected.len();
        assert_eq!(update.finish, is_whole.then_some(client.reason), "{} ends in time", update.seq_id);
        if self.waiting_after_preemption.contains(&update.seq_id) {
            self.tally.tokens_after_preemption += 1;
        }
        match update.finish {
            Some(FinishReason::Stop) => self.tally.ends_by_token += 1,
            Some(_) => self.tally.ends_by_length += 1,
            None => return,
        }
        self.tally.whole_sequences += 1;
    }

    fn fail(&mut self, newest: bool) {
        let launched = if newest { self.in_flight.pop_back() } else { self.in_flight.pop_front() };
        let Some(Launched { output, .. }) = launched else { return };
        let failed = self.scheduler.fail(output.step);
        self.tally.failed_sequences += failed.len() as u64;
        for seq_id in failed {
            assert!(self.live_seqs.contains(&seq_id), "only living sequences fail");
        }
        self.forget_ended();
    }

    /// Drops from the lists of the living whom the scheduler no longer knows.
    fn forget_ended(&mut self) {
        self.live_seqs.retain(|seq_id| self.scheduler.tokens(*seq_id).is_some());
    }
}

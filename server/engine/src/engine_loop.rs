//! What the engine thread does: schedule, execute, complete, publish.
//!
//! Up to `max_in_flight_steps` steps are out at once: while the executor computes one, the next is planned with
//! placeholders for the tokens that are still to come.
//!
//! # Invariants
//!
//! - Steps are collected in the order in which they were launched.
//! - When nothing is being served, every block of the cache is free; the thread checks it each time.
//! - A step that fails or panics takes its own requests with it, and nobody else's; but a device that breaks is not
//!   mended in place: it ends all requests and the engine.
//! - Whoever watches can tell a turn that takes too long from an engine that waits for work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use spillway_models::{RowError, SampledTokens};
use spillway_scheduler::{RowResult, ScheduledRow, Scheduler, SchedulerOutput, SequenceUpdate};
use spillway_types::{FinishReason, RequestId, ScoredToken, SeqId};

use crate::batch::forward_batch;
use crate::clock::Clock;
use crate::error::EngineError;
use crate::executor::{Executor, ExecutorError, StepTicket, guarded};
use crate::load::{EngineLoad, LoadCells};
use crate::message::{Control, Refusal, Submission};
use crate::meters::Meters;
use crate::rate::{Rate, Throughput};
use crate::registry::{NewRequest, Reader, Registry};

/// A step that the executor is computing.
struct InFlightStep {
    output: SchedulerOutput,
    ticket: StepTicket,
    began: Duration,
    /// Whether prompts had to wait although the step took what it could.
    is_saturated: bool,
}

pub(crate) struct EngineLoop {
    scheduler: Scheduler,
    max_in_flight_steps: usize,
    executor: Box<dyn Executor>,
    in_flight: VecDeque<InFlightStep>,
    registry: Registry,
    meters: Meters,
    cells: Arc<LoadCells>,
    clock: Arc<dyn Clock>,
    submissions: flume::Receiver<Submission>,
    control: flume::Receiver<Control>,
    stop_at: Option<Duration>,
    /// Nothing can be served any more: the thread ends, for the watchdog to see.
    is_executor_gone: bool,
    num_steps: u64,
    rate: Rate,
    max_queue_ttft: Option<Duration>,
    prefill: Throughput,
    decode: Throughput,
    /// When the last step ended, as long as the engine has not come to rest since.
    step_ended: Option<Duration>,
}

/// What a loop is made of; the rest of it starts empty.
pub(crate) struct LoopParts {
    pub(crate) scheduler: Scheduler,
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) meters: Meters,
    pub(crate) cells: Arc<LoadCells>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_queue_ttft: Option<Duration>,
    pub(crate) submissions: flume::Receiver<Submission>,
    pub(crate) control: flume::Receiver<Control>,
}

impl EngineLoop {
    pub(crate) fn new(parts: LoopParts) -> Self {
        let mut engine_loop = Self {
            max_in_flight_steps: parts.scheduler.config().max_in_flight_steps.get() as usize,
            scheduler: parts.scheduler,
            executor: parts.executor,
            in_flight: VecDeque::new(),
            registry: Registry::default(),
            meters: parts.meters,
            cells: parts.cells,
            clock: parts.clock,
            submissions: parts.submissions,
            control: parts.control,
            stop_at: None,
            is_executor_gone: false,
            num_steps: 0,
            rate: Rate::default(),
            max_queue_ttft: parts.max_queue_ttft,
            prefill: Throughput::default(),
            decode: Throughput::default(),
            step_ended: None,
        };
        engine_loop.publish_load();
        engine_loop
    }

    /// Turns until it is told to stop, or nobody can send anything any more.
    pub(crate) fn run(mut self) {
        loop {
            self.cells.set_turn_began(Some(self.clock.now()));
            self.drain_messages();
            self.launch_steps();
            if let Some(step) = self.in_flight.pop_front() {
                self.complete_step(step);
                self.publish_load();
                continue;
            }
            if self.is_executor_gone {
                self.abort_all("nothing computes any more");
                break;
            }
            if self.stop_at.is_some() || self.submissions.is_disconnected() && self.submissions.is_empty() {
                break;
            }
            self.check_idle();
            self.step_ended = None;
            self.cells.set_turn_began(None);
            self.wait_for_message();
        }
        self.check_idle();
        self.publish_load();
    }

    fn drain_messages(&mut self) {
        while let Ok(control) = self.control.try_recv() {
            self.control(control);
        }
        while let Ok(submission) = self.submissions.try_recv() {
            self.submit(submission);
        }
        if self.stop_at.is_some_and(|deadline| self.clock.now() >= deadline) {
            self.abort_all("the server is shutting down");
        }
    }

    fn wait_for_message(&mut self) {
        enum Message {
            Control(Control),
            Submission(Box<Submission>),
            Disconnected,
        }
        let message = flume::Selector::new()
            .recv(&self.control, |received| received.map_or(Message::Disconnected, Message::Control))
            .recv(&self.submissions, |received| {
                received.map_or(Message::Disconnected, |submission| Message::Submission(Box::new(submission)))
            })
            .wait();
        match message {
            Message::Control(control) => self.control(control),
            Message::Submission(submission) => self.submit(*submission),
            Message::Disconnected => {}
        }
    }

    fn control(&mut self, control: Control) {
        let now = self.clock.now();
        match control {
            Control::Abort(request_id) => {
                self.scheduler.abort(request_id);
                self.registry.remove(request_id, None, (now, &self.meters));
            }
            Control::Finish(seq_id) => {
                self.scheduler.finish(seq_id);
                self.registry.finish(seq_id, FinishReason::Stop, now, &self.meters);
            }
            Control::Stop { deadline } => self.stop_at = Some(deadline),
        }
    }

    fn submit(&mut self, submission: Submission) {
        if self.stop_at.is_some() {
            // The caller reads the dropped reply as "shutting down".
            return;
        }
        let request_id = submission.request.request_id;
        let prompt_tokens = submission.request.prompt.len() as u32;
        let submitted = match self.queue_refusal() {
            None => self.scheduler.submit(submission.request, self.clock.now()).map_err(Refusal::Scheduler),
            Some(refusal) => Err(refusal),
        };
        if let Ok(seq_ids) = &submitted {
            let first = submission.sampling;
            let seqs =
                seq_ids.iter().zip(0..).map(|(&seq_id, choice)| (seq_id, first.of_choice(choice))).collect();
            self.registry.insert(NewRequest {
                request_id,
                updates: submission.updates,
                arrived: submission.arrived,
                prompt_tokens,
                seqs,
            });
        }
        let was_accepted = submitted.is_ok();
        if submission.reply.send(submitted).is_err() && was_accepted {
            // The client went away while its prompt was being tokenised.
            self.control(Control::Abort(request_id));
        }
    }

    /// Why no prompt is taken now: those in line take too long. An empty line always takes one, and so does an engine that
    /// has not seen yet how fast it is.
    fn queue_refusal(&self) -> Option<Refusal> {
        let (max_wait, rate) = self.max_queue_ttft.zip(self.prefill.per_second())?;
        let queued_tokens = self.scheduler.queued_prompt_tokens();
        let wait = Duration::try_from_secs_f64(queued_tokens as f64 / rate).unwrap_or(Duration::MAX);
        (wait > max_wait).then_some(Refusal::QueueTooLong { queued_tokens, wait, max_wait })
    }

    fn launch_steps(&mut self) {
        while self.in_flight.len() < self.max_in_flight_steps && !self.is_executor_gone {
            let now = self.clock.now();
            let Some(output) = self.scheduler.schedule(now) else { return };
            for admission in output.admitted.iter().filter(|admission| !admission.resumed) {
                self.registry.admitted(admission.seq_id, admission.cached_tokens, now, &self.meters);
            }
            let batch = forward_batch(&output, &self.scheduler, &mut self.registry);
            self.meters.step(batch.tokens.len());
            let is_saturated = self.scheduler.queued_prompt_tokens() > 0;
            match guarded(|| self.executor.launch(batch)) {
                Ok(ticket) => {
                    self.in_flight.push_back(InFlightStep { output, ticket, began: now, is_saturated });
                }
                Err(error) => self.fail_step(&output, &error),
            }
        }
    }

    fn complete_step(&mut self, step: InFlightStep) {
        let InFlightStep { output, ticket, began, is_saturated } = step;
        let collected = guarded(|| self.executor.collect(ticket));
        self.num_steps += 1;
        self.measure(&output, began, is_saturated);
        tracing::debug!(step = output.step.0, rows = output.rows.len(), ?began, "step");
        match collected {
            Ok(sampled) if sampled.rows.len() == output.rows.len() => self.accept_tokens(&output, sampled),
            Ok(sampled) => {
                let error = ExecutorError::RowCount { rows: output.rows.len(), answered: sampled.rows.len() };
                self.fail_step(&output, &error);
            }
            Err(error) => self.fail_step(&output, &error),
        }
    }

    /// Learns how fast steps are. A step begins when the one before it ends, if it was launched earlier.
    fn measure(&mut self, output: &SchedulerOutput, launched: Duration, is_saturated: bool) {
        let now = self.clock.now();
        let began = self.step_ended.map_or(launched, |ended| ended.max(launched));
        self.step_ended = Some(now);
        let took = now.saturating_sub(began);
        if is_saturated {
            let is_prompt = |row: &&ScheduledRow| row.num_tokens > 1 || !row.samples;
            let prompt_tokens = output.rows.iter().filter(is_prompt).map(|row| row.num_tokens).sum();
            self.prefill.observe(prompt_tokens, took);
        }
        let num_sampled = output.rows.iter().filter(|row| row.samples).count();
        self.decode.observe(num_sampled as u32, took);
    }

    fn accept_tokens(&mut self, output: &SchedulerOutput, mut sampled: SampledTokens) {
        let mut results = Vec::with_capacity(sampled.rows.len());
        let mut failed = Vec::new();
        for (row, outcome) in output.rows.iter().zip(&mut sampled.rows) {
            match outcome {
                Ok(brought) => {
                    results.push(brought.sampled.iter().map(|sampled| sampled.token).collect());
                    if !brought.scored.is_empty() {
                        self.registry.prompt_scored(row.seq_id, std::mem::take(&mut brought.scored));
                    }
                }
                Err(error) => {
                    results.push(RowResult::default());
                    failed.push((row.seq_id, *error));
                }
            }
        }
        // Before the others' tokens are counted: a sequence that failed must not be continued.
        for (seq_id, error) in failed {
            self.fail_request_of(seq_id, |request_id| match error {
                RowError::NoTokenLeft { .. } => EngineError::NoTokenLeft { message: error.to_string() },
                RowError::LogitsNotFinite { .. } | RowError::PreviousTokenMissing { .. } => {
                    EngineError::StepFailed { request_id, message: error.to_string() }
                }
            });
        }
        for update in self.scheduler.complete(output.step, &results) {
            // Failed rows brought the scheduler no token, so no update names them.
            if let Ok(brought) = &mut sampled.rows[update.row as usize] {
                let tokens = brought.sampled.drain(update.accepted.clone()).collect();
                self.publish(&update, tokens);
            }
        }
    }

    fn publish(&mut self, update: &SequenceUpdate, tokens: Vec<ScoredToken>) {
        let now = self.clock.now();
        let reader = self.registry.tokens(update.seq_id, tokens, update.finish, (now, &self.meters));
        if reader == Reader::Gone {
            self.control(Control::Abort(update.request_id));
        }
    }

    /// Ends every request that had a row in a step that broke.
    fn fail_step(&mut self, output: &SchedulerOutput, error: &ExecutorError) {
        let message = error.with_causes();
        tracing::error!(step = output.step.0, rows = output.rows.len(), error = message, "step failed");
        if error.is_device_broken() {
            self.cells.set_device_broken();
        }
        self.is_executor_gone |= error.is_device_broken() || matches!(error, ExecutorError::Stopped);
        let seq_ids = self.scheduler.fail(output.step);
        for seq_id in seq_ids {
            let message = message.clone();
            self.fail_request_of(seq_id, |request_id| EngineError::StepFailed { request_id, message });
        }
    }

    fn fail_request_of(&mut self, seq_id: SeqId, error: impl FnOnce(RequestId) -> EngineError) {
        let Some(request_id) = self.registry.request_of(seq_id) else { return };
        self.scheduler.abort(request_id);
        let now = self.clock.now();
        self.registry.remove(request_id, Some(error(request_id)), (now, &self.meters));
    }

    fn abort_all(&mut self, message: &str) {
        for request_id in self.registry.request_ids() {
            self.scheduler.abort(request_id);
            let error = EngineError::StepFailed { request_id, message: message.to_owned() };
            self.registry.remove(request_id, Some(error), (self.clock.now(), &self.meters));
        }
    }

    /// When nothing is served, all blocks must be back. A leak would starve the server slowly: better to say it.
    fn check_idle(&mut self) {
        if !self.registry.is_empty() || !self.scheduler.is_idle() {
            tracing::error!("scheduler plans nothing although requests wait; ending them");
            self.abort_all("the scheduler could not make progress");
        }
        let stats = self.scheduler.stats();
        if let Err(error) = self.scheduler.check() {
            tracing::error!(%error, "the scheduler's books do not add up");
            debug_assert!(false, "the scheduler's books do not add up: {error}");
        }
        if stats.used_blocks != 0 {
            tracing::error!(used = stats.used_blocks, blocks = stats.num_blocks, "idle, but blocks are held");
            debug_assert!(false, "idle, but {} of {} blocks are held", stats.used_blocks, stats.num_blocks);
        }
        self.publish_load();
    }

    fn publish_load(&mut self) {
        let now = self.clock.now();
        self.rate.observe(now, self.registry.num_finished());
        let stats = self.scheduler.stats();
        let load = EngineLoad {
            num_running: stats.num_running,
            num_waiting: stats.num_waiting,
            num_blocks: stats.num_blocks,
            num_free_blocks: stats.num_blocks - stats.used_blocks,
            num_steps: self.num_steps,
            num_preemptions: stats.num_preemptions,
            prefix_queries: stats.prefix_query_tokens,
            prefix_hits: stats.prefix_hit_tokens,
            requests_per_second: self.rate.per_second(now),
            num_queued_prompt_tokens: self.scheduler.queued_prompt_tokens(),
            prefill_tokens_per_second: self.prefill.per_second(),
            decode_tokens_per_second: self.decode.per_second(),
        };
        self.cells.store(&load);
        self.meters.load(&load);
    }
}

impl Drop for EngineLoop {
    fn drop(&mut self) {
        // Also when the thread panics: nobody must wait for an engine that is gone.
        self.cells.set_stopped();
        // The queue itself lives as long as a handle does, and with it whatever waits in it. Who sends later finds the
        // mark that was set before.
        while self.submissions.try_recv().is_ok() {}
    }
}

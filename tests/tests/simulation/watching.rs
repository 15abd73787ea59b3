//! What others see of an engine: whether a step is overdue, how fast it is, and when its queue is too long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use spillway_engine::{EngineError, EngineHealth, Executor, ExecutorError, StepTicket};
use spillway_kernels::KernelError;
use spillway_models::{BatchRow, ForwardBatch, ModelError, RowOutput, SampledTokens};
use spillway_tests::{Ask, Knobs, ManualClock, TestEngine};
use spillway_types::{ScoredToken, TokenId};

use crate::oracle::served;

/// Takes a hundredth of a second for every token, and always says 9.
struct Steady {
    clock: Arc<ManualClock>,
    results: VecDeque<(Duration, SampledTokens)>,
}

impl Executor for Steady {
    fn launch(&mut self, batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        let nine = ScoredToken { token: TokenId(9), logprob: 0.0, ranking: None };
        let output = |row: &BatchRow| {
            let sampled = row.sample.iter().map(|_| nine.clone()).collect();
            Ok(RowOutput { scored: Vec::new(), sampled })
        };
        let rows = batch.rows.iter().map(output).collect();
        let takes = Duration::from_millis(10) * batch.tokens.len() as u32;
        self.results.push_back((takes, SampledTokens { rows }));
        Ok(StepTicket::new(0))
    }

    fn collect(&mut self, _step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        let (takes, sampled) = self.results.pop_front().expect("a step was launched");
        self.clock.advance(takes);
        Ok(sampled)
    }
}

/// An engine that computes 100 tokens a second, 10 in a step.
fn engine(depth: u32, max_queue_ttft: Option<Duration>) -> TestEngine {
    let clock = Arc::<ManualClock>::default();
    let executor = Steady { clock: Arc::clone(&clock), results: VecDeque::new() };
    let knobs =
        Knobs { max_num_batched_tokens: 10, max_num_seqs: 4, depth, max_queue_ttft, ..Knobs::default() };
    TestEngine::over(Box::new(executor), served(), &knobs, clock)
}

/// A prompt of so many tokens, unlike others.
fn ask(first: u32, num_tokens: u32, max_tokens: u32) -> Ask {
    let prompt: Vec<u32> = (0..num_tokens).map(|index| (first + index) % 7).collect();
    Ask::greedy(&prompt, max_tokens)
}

#[test]
fn rates_are_unknown_at_first_and_then_what_was_seen() {
    for depth in [1, 2] {
        let engine = engine(depth, None);
        let load = engine.handle().load();
        assert_eq!((load.prefill_tokens_per_second, load.decode_tokens_per_second), (None, None));
        // An answer may be read before the load is told of its last step.
        engine.run(&[ask(0, 8, 5)]);
        until("learn its decode rate", || engine.handle().load().decode_tokens_per_second.is_some());
        let prefill = engine.handle().load().prefill_tokens_per_second;
        assert_eq!(prefill, None, "nobody had to wait, so it could have done more");

        engine.run(&[ask(1, 200, 1)]);
        until("learn its prefill rate", || engine.handle().load().prefill_tokens_per_second.is_some());
        let rate = engine.handle().load().prefill_tokens_per_second.expect("a long prompt waits for itself");
        assert!((rate - 100.0).abs() < 1.0, "{rate}");
        until("take all that is in line", || engine.handle().load().num_queued_prompt_tokens == 0);
        engine.stop();
    }
}

#[test]
fn a_queue_is_too_long_when_its_prompts_take_longer_than_allowed() {
    for depth in [1, 2] {
        let engine = engine(depth, Some(Duration::from_secs(1)));
        // Nobody knows yet how fast it is: everything is let in.
        for answer in engine.run_each(&[ask(0, 8, 5), ask(0, 200, 1), ask(1, 200, 1), ask(2, 200, 1)]) {
            answer.expect("it is let in");
        }
        let outcomes =
            engine.block_on(engine.submit_and_hold(&[ask(3, 60, 1), ask(4, 70, 1), ask(5, 8, 1)], 3));
        assert!(outcomes[0].is_ok(), "the queue was empty");
        assert!(outcomes[1].is_ok(), "half a second of prompts was in line");
        let Err(EngineError::QueueTooLong { queued_tokens, wait, max_wait }) = &outcomes[2] else {
            panic!("more than a second of prompts was in line")
        };
        assert!((101..=130).contains(queued_tokens), "{queued_tokens}");
        assert!((wait.as_secs_f64() - *queued_tokens as f64 / 100.0).abs() < 0.1, "{wait:?}");
        assert_eq!(*max_wait, Duration::from_secs(1));
        assert!(engine.handle().load().num_queued_prompt_tokens > 0);
        let_go(&engine, outcomes);
        engine.run(&[ask(5, 8, 1)]);
        engine.stop();
    }
}

/// Waits for something that the engine's thread is about to do.
fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if holds() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the engine does not {what}");
}

/// Lets an engine that is held go on without its requests, until it has come to rest.
fn let_go(engine: &TestEngine, streams: impl Sized) {
    drop(streams);
    engine.gate().open();
    until("come to rest", || {
        let load = engine.handle().load();
        (load.num_running, load.num_waiting) == (0, 0)
    });
}

#[test]
fn a_step_is_overdue_while_it_runs_and_not_before_or_after() {
    for depth in [1, 2] {
        let engine = engine(depth, None);
        let handle = engine.handle().clone();
        // An engine without work is never overdue, however long it waits.
        engine.run(&[ask(0, 8, 2)]);
        engine.clock().advance(Duration::from_hours(1));
        until("be ready again", || handle.health() == EngineHealth::Ready);

        let streams = engine.block_on(engine.submit_and_hold(&[ask(1, 30, 5)], 2));
        assert_eq!(handle.health(), EngineHealth::Ready);
        engine.clock().advance(Duration::from_secs(61));
        let EngineHealth::Overdue { since } = handle.health() else { panic!("its step hangs") };
        assert!(since >= Duration::from_secs(61), "{since:?}");
        let_go(&engine, streams);
        engine.run(&[ask(2, 8, 2)]);
        until("be ready again", || handle.health() == EngineHealth::Ready);
        engine.stop();
    }
}

/// An executor whose thread is gone.
struct Gone;

impl Executor for Gone {
    fn launch(&mut self, _batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        Ok(StepTicket::new(0))
    }

    fn collect(&mut self, _step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        Err(ExecutorError::Stopped)
    }
}

/// An executor whose device broke.
struct Broken;

impl Executor for Broken {
    fn launch(&mut self, _batch: ForwardBatch) -> Result<StepTicket, ExecutorError> {
        Ok(StepTicket::new(1))
    }

    fn collect(&mut self, _step: StepTicket) -> Result<SampledTokens, ExecutorError> {
        let source = "an illegal address".into();
        Err(ModelError::Kernel(KernelError::DeviceBroken { source }).into())
    }
}

#[test]
fn a_broken_device_ends_every_request_and_the_engine() {
    for depth in [1, 2] {
        let knobs = Knobs { max_num_seqs: 1, depth, ..Knobs::default() };
        let engine = TestEngine::over(Box::new(Broken), served(), &knobs, Arc::default());
        let outcomes = engine.run_each(&[ask(0, 8, 5), ask(1, 8, 5), ask(2, 8, 5)]);
        for outcome in outcomes {
            outcome.expect_err("nothing computes");
        }
        engine.block_on(engine.generate(ask(3, 8, 5))).err().expect("it takes no more");
        assert_eq!(engine.handle().health(), EngineHealth::DeviceBroken);
    }
}

#[test]
fn an_engine_whose_executor_is_gone_ends_rather_than_fail_everyone() {
    for depth in [1, 2] {
        let knobs = Knobs { max_num_seqs: 1, depth, ..Knobs::default() };
        let engine = TestEngine::over(Box::new(Gone), served(), &knobs, Arc::default());
        for outcome in engine.run_each(&[ask(0, 8, 5), ask(1, 8, 5), ask(2, 8, 5)]) {
            outcome.expect_err("nothing computes");
        }
        let refused = engine.block_on(engine.generate(ask(3, 8, 5)));
        assert_eq!(refused.err(), Some(EngineError::Stopped));
        assert_eq!(engine.handle().health(), EngineHealth::Stopped);
    }
}

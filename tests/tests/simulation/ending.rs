//! How engines end, and what a panicking model leaves standing.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use spillway_engine::{Clock as _, EngineError, EngineHealth, EventStream, RunnerExecutor};
use spillway_kernels::{CpuOptions, DType, Device};
use spillway_models::{
    Activation, Attention, DecoderSpec, ForwardBatch, InputToken, KvCache, KvLayout, LayerSpec, Logits,
    Model, ModelError, ModelRunner, Norms, Rope, RopeScaling, RunnerLimits,
};
use spillway_tests::{Answer, Ask, Knobs, TestEngine};
use spillway_types::BlockSize;

use crate::fake::{FakeExecutor, Trouble};
use crate::oracle::{expected, served, vocab_size};

fn knobs(depth: u32) -> Knobs {
    // Not room for all at once, so that some wait and some are preempted.
    Knobs { num_blocks: 160, block_size: 8, max_num_seqs: 4, max_model_len: 1024, depth, ..Knobs::default() }
}

fn asks(num_asks: u32, max_tokens: u32) -> Vec<Ask> {
    (0..num_asks).map(|first| Ask::greedy(&[first, 1, 2, 3], max_tokens)).collect()
}

/// An engine that stands still after a few steps, with requests running and waiting.
fn busy_engine(depth: u32, asks: &[Ask]) -> (TestEngine, Vec<EventStream>) {
    let clock = Arc::default();
    let executor = FakeExecutor::new(&knobs(depth), Trouble::default(), 1, Arc::clone(&clock));
    let engine = TestEngine::over(Box::new(executor), served(), &knobs(depth), clock);
    let streams = engine.block_on(engine.submit_and_hold(asks, 5));
    (engine, streams.into_iter().map(|stream| stream.expect("it was accepted")).collect())
}

#[test]
fn draining_serves_what_is_there_and_refuses_what_comes() {
    for depth in [1, 2] {
        let asks = asks(9, 60);
        let (engine, streams) = busy_engine(depth, &asks);
        let handle = engine.handle().clone();
        assert!(handle.load().num_waiting > 0, "somebody waits");
        engine.stop();
        for (ask, stream) in asks.iter().zip(streams) {
            let answer = block_on(Answer::read(stream)).expect("it was there before");
            assert_eq!(answer.only().tokens, expected(ask, 0, 1024).tokens);
        }
        let refused = block_on(handle.generate(asks[0].clone().request(99)));
        assert_eq!(refused.err(), Some(EngineError::ShuttingDown));
        assert_eq!(handle.health(), EngineHealth::Stopped);
    }
}

#[test]
fn the_deadline_ends_what_is_not_served_in_time() {
    for depth in [1, 2] {
        let mut asks = asks(9, 1000);
        // A step takes up to 50 ms of the clock, so this one is done before the deadline.
        asks[0].max_tokens = 10;
        let (engine, streams) = busy_engine(depth, &asks);
        let deadline = engine.clock().now() + Duration::from_secs(2);
        engine.stop_at(deadline);
        let mut outcomes = streams.into_iter().map(|stream| block_on(Answer::read(stream)));
        let first = outcomes.next().expect("there are nine").expect("it was short");
        assert_eq!(first.only().tokens, expected(&asks[0], 0, 1024).tokens);
        for outcome in outcomes {
            let error = outcome.expect_err("there was no time for a thousand tokens");
            assert!(error.to_string().contains("shutting down"), "{error}");
        }
    }
}

#[test]
fn dropping_all_streams_gives_all_blocks_back() {
    for depth in [1, 2] {
        let (engine, streams) = busy_engine(depth, &asks(9, 1000));
        assert!(engine.handle().load().num_free_blocks < 160, "blocks are held");
        drop(streams);
        let load = engine.stop();
        assert!(load.num_steps < 20, "nothing is computed for nobody: {} steps", load.num_steps);
    }
}

/// Says that the token after `t` is `t + 1`, and panics at 6.
struct Fragile {
    spec: DecoderSpec,
    logits: Vec<f32>,
}

impl Model for Fragile {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        batch: &ForwardBatch,
        _kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        self.logits.clear();
        for row in batch.rows.iter().filter(|row| row.sample.is_some()) {
            let InputToken::Known(token) = batch.tokens[row.tokens.end as usize - 1] else {
                panic!("the runner fills in sampled tokens");
            };
            assert_ne!(token.0, 6, "the model is fragile");
            let next = (token.0 + 1) % vocab_size();
            self.logits.extend((0..vocab_size()).map(|id| if id == next { 1.0 } else { 0.0 }));
        }
        sink(Logits::new(&self.logits, self.spec.vocab_size));
        Ok(())
    }
}

fn fragile_engine(depth: u32) -> TestEngine {
    let spec = DecoderSpec {
        architecture: "fragile",
        hidden_size: 1,
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 16,
        vocab_size: vocab_size() as usize,
        max_positions: 64,
        embedding_scale: None,
        norm_eps: 1e-5,
        norms: Norms::Pre,
        attention: Attention::plain(16),
        activation: Activation::Silu,
        ropes: vec![Rope { theta: 1e4, rotary_dim: 16, scaling: RopeScaling::None }],
        layers: vec![LayerSpec::plain(1)],
        logit_soft_cap: None,
        tied_head: true,
    };
    let device = Device::cpu(&CpuOptions::default()).expect("a processor");
    let layout = KvLayout { num_layers: 0, num_kv_heads: 1, head_dim: 16, dtype: DType::F32 };
    let block_size = BlockSize::try_from(16).expect("a block size");
    let kv = KvCache::new(&device, &layout, block_size, 8).expect("it takes no memory");
    let limits = RunnerLimits { max_num_batched_tokens: 64, max_num_seqs: 4, max_model_len: 64 };
    let runner = ModelRunner::new(Box::new(Fragile { spec, logits: Vec::new() }), kv, limits);
    let executor = RunnerExecutor::start(runner).expect("a thread");
    let knobs = Knobs {
        num_blocks: 8,
        max_num_batched_tokens: 64,
        max_num_seqs: 4,
        max_model_len: 64,
        depth,
        ..Knobs::default()
    };
    TestEngine::over(Box::new(executor), served(), &knobs, Arc::default())
}

#[test]
fn a_panic_in_a_step_fails_its_requests_and_nothing_else() {
    for depth in [1, 2] {
        let engine = fragile_engine(depth);
        let outcomes = engine.run_each(&[Ask::greedy(&[7], 2), Ask::greedy(&[4], 5), Ask::greedy(&[0], 20)]);
        // The first has ended before, the third was in the same step as the second.
        assert_eq!(outcomes[0].as_ref().expect("it had ended").only().tokens, [8, 9]);
        for outcome in &outcomes[1..] {
            let error = outcome.as_ref().expect_err("its step panicked");
            assert!(error.to_string().contains("the model is fragile"), "{error}");
        }
        let later = engine.run(&[Ask::greedy(&[8], 3), Ask::greedy(&[1], 4)]);
        assert_eq!(later[0].only().tokens, [9, 10, 11]);
        assert_eq!(later[1].only().tokens, [2, 3, 4, 5]);
        engine.stop();
    }
}

//! An engine in this process, with limits chosen by the test, whose requests enter in a known order.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use spillway_engine::{
    Clock, Engine, EngineConfig, EngineError, EngineHandle, EngineLoad, EngineParts, EngineThread,
    EventStream, Executor, RunnerExecutor, TextPipeline,
};
use spillway_models::{KvCache, ModelRunner};
use spillway_scheduler::SchedulerConfig;
use spillway_types::{BlockSize, ModelId, TokenId};
use tokio::runtime::Runtime;

use crate::ask::{Answer, Ask};
use crate::clock::ManualClock;
use crate::executor::{Steps, WatchedExecutor, lock};
use crate::gate::Gate;
use crate::model::{FirstLogits, TestModel};
use crate::queue::Queue;

/// On the engine's own clock, which only goes on when it is told to.
const STEP_OVERDUE_AFTER: Duration = Duration::from_mins(1);

/// Limits of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// Tokens of one block.
    pub block_size: u32,
    /// Blocks of the cache.
    pub num_blocks: u32,
    /// Most tokens of one step.
    pub max_num_batched_tokens: u32,
    /// Most sequences running at once.
    pub max_num_seqs: u32,
    /// Most requests waiting.
    pub max_waiting: u32,
    /// Tokens of prompt and output together.
    pub max_model_len: u32,
    /// Most tokens of one sequence in one step.
    pub chunk: Option<u32>,
    /// Most steps in flight.
    pub depth: u32,
    /// Whether computed blocks are found again.
    pub prefix_caching: bool,
    /// How long a request waits until it rises by one class.
    pub ageing_interval: Duration,
    /// Longest time that the prompts in line may take.
    pub max_queue_ttft: Option<Duration>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            block_size: 16,
            num_blocks: 512,
            max_num_batched_tokens: 2048,
            max_num_seqs: 16,
            max_waiting: 1024,
            max_model_len: 512,
            chunk: None,
            depth: 1,
            prefix_caching: true,
            ageing_interval: Duration::from_hours(1),
            max_queue_ttft: None,
        }
    }
}

/// What is served, beside the executor.
#[derive(Clone)]
pub struct Served {
    /// Tokenizer and template.
    pub text: TextPipeline,
    /// Entries of the vocabulary.
    pub vocab_size: u32,
    /// Tokens with which the model ends an answer.
    pub end_tokens: Arc<[TokenId]>,
}

/// A running engine.
pub struct TestEngine {
    handle: EngineHandle,
    thread: Option<EngineThread>,
    gate: Arc<Gate>,
    steps: Arc<Mutex<Steps>>,
    first_logits: Arc<Mutex<FirstLogits>>,
    clock: Arc<ManualClock>,
    runtime: Arc<Runtime>,
    next_request: AtomicU64,
}

impl TestEngine {
    /// Starts an engine on a loaded model, with a cache of its own.
    ///
    /// # Panics
    ///
    /// If the limits do not go together or go beyond those that the model was loaded with.
    pub fn start(model: &TestModel, knobs: &Knobs) -> Self {
        let limits = model.runner_limits;
        assert!(knobs.max_num_batched_tokens <= limits.max_num_batched_tokens, "loaded for {limits:?}");
        assert!(knobs.max_num_seqs <= limits.max_num_seqs, "loaded for {limits:?}");
        assert!(knobs.max_model_len <= limits.max_model_len, "loaded for {limits:?}");
        let executor = model.executor_limits;
        let knobs = Knobs {
            max_num_seqs: executor
                .max_num_seqs
                .map_or(knobs.max_num_seqs, |most| most.min(knobs.max_num_seqs)),
            prefix_caching: knobs.prefix_caching && executor.prefix_cache,
            ..*knobs
        };
        let block_size = BlockSize::try_from(knobs.block_size).expect("a block size");
        let kv = KvCache::new(&model.device, &model.kv_layout, block_size, knobs.num_blocks);
        let (lent, first_logits) = model.lend();
        let runner = ModelRunner::new(Box::new(lent), kv.expect("room for the cache"), limits);
        let executor = RunnerExecutor::start(runner).expect("a thread");
        let served = Served {
            text: model.text.clone(),
            vocab_size: model.spec.vocab_size as u32,
            end_tokens: Arc::clone(&model.end_tokens),
        };
        let mut engine = Self::over(Box::new(executor), served, &knobs, Arc::default());
        engine.first_logits = first_logits;
        engine
    }

    /// Starts an engine over any executor.
    ///
    /// # Panics
    ///
    /// If the limits do not go together.
    pub fn over(executor: Box<dyn Executor>, served: Served, knobs: &Knobs, clock: Arc<ManualClock>) -> Self {
        let gate = Arc::new(Gate::default());
        let steps = Arc::default();
        let watched = WatchedExecutor::new(executor, Arc::clone(&gate), Arc::clone(&steps));
        let parts = EngineParts {
            model: ModelId::new("test"),
            vocab_size: served.vocab_size,
            end_tokens: served.end_tokens,
            text: served.text,
            executor: Box::new(watched),
            config: EngineConfig {
                scheduler: knobs.scheduler(),
                cache_dtype: "f32".to_owned(),
                step_overdue_after: STEP_OVERDUE_AFTER,
                max_queue_ttft: knobs.max_queue_ttft,
            },
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let (handle, thread) = Engine::start(parts).expect("limits that go together");
        // Prompts are tokenised on one other thread, in the order in which they were asked for.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        Self {
            handle,
            thread: Some(thread),
            gate,
            steps,
            first_logits: Arc::default(),
            clock,
            runtime: Arc::new(runtime.expect("a runtime")),
            next_request: AtomicU64::new(0),
        }
    }

    /// The engine's handle.
    pub fn handle(&self) -> &EngineHandle {
        &self.handle
    }

    /// The gate before each step.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The engine's clock.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The runtime that [`TestEngine::generate`] needs.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Drives a future to its end on the engine's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Serves all requests at once and gives their answers in order.
    ///
    /// # Panics
    ///
    /// If one fails.
    pub fn run(&self, asks: &[Ask]) -> Vec<Answer> {
        let answers = self.run_each(asks).into_iter();
        answers.map(|answer| answer.unwrap_or_else(|error| panic!("request failed: {error}"))).collect()
    }

    /// As [`TestEngine::run`], where some may fail.
    pub fn run_each(&self, asks: &[Ask]) -> Vec<Result<Answer, EngineError>> {
        self.block_on(async {
            let streams = self.submit(asks).await;
            let answers = streams.into_iter().map(|stream| async { Answer::read(stream?).await });
            join_all(answers).await
        })
    }

    /// Puts all requests into the queue in order, then opens the gate. The first step is that of the first request
    /// alone; all others are there when the second is planned (the third, with two in flight).
    pub async fn submit(&self, asks: &[Ask]) -> Vec<Result<EventStream, EngineError>> {
        let queue = self.enqueue(asks).await;
        self.gate.open();
        queue.finish().await
    }

    /// As [`TestEngine::submit`], but holds the engine before the step after the first `num_steps`; at least as many
    /// as may be in flight, or else not all requests are let in.
    pub async fn submit_and_hold(
        &self,
        asks: &[Ask],
        num_steps: u64,
    ) -> Vec<Result<EventStream, EngineError>> {
        let queue = self.enqueue(asks).await;
        self.gate.allow(num_steps);
        let streams = queue.finish().await;
        self.gate.engine_waits().await;
        streams
    }

    async fn enqueue(&self, asks: &[Ask]) -> Queue {
        self.gate.allow(0);
        let mut queue = Queue::default();
        for (idx, ask) in asks.iter().enumerate() {
            queue.push(self.generate(ask.clone())).await;
            if idx == 0 && queue.accepts_first().await {
                self.gate.engine_waits().await;
            }
        }
        queue
    }

    /// One request, under the next number. It is in the queue only some polls later; see [`crate::prompts_are_tokenised`].
    pub fn generate(&self, ask: Ask) -> BoxFuture<'static, Result<EventStream, EngineError>> {
        let request = ask.request(self.next_request.fetch_add(1, Relaxed));
        let handle = self.handle.clone();
        async move { handle.generate(request).await }.boxed()
    }

    /// The steps launched since the last call.
    pub fn take_steps(&self) -> Steps {
        std::mem::take(&mut *lock(&self.steps))
    }

    /// The logits that each sequence's first token was chosen from, in the order of the requests.
    pub fn take_first_logits(&self) -> Vec<Vec<f32>> {
        let mut first_logits = std::mem::take(&mut *lock(&self.first_logits));
        first_logits.sort_by_key(|&(seq_id, _)| seq_id);
        first_logits.into_iter().map(|(_, logits)| logits).collect()
    }

    /// Ends the engine after the requests that it still has, and checks that nothing is left behind.
    ///
    /// # Panics
    ///
    /// If the engine's thread had panicked (as it does when idle with blocks held), or blocks are not free.
    pub fn stop(self) -> EngineLoad {
        self.stop_at(Duration::MAX)
    }

    /// As [`TestEngine::stop`], aborting what has not ended at `deadline` on the engine's clock.
    ///
    /// # Panics
    ///
    /// As [`TestEngine::stop`].
    pub fn stop_at(mut self, deadline: Duration) -> EngineLoad {
        self.gate.open();
        let thread = self.thread.take().expect("it is stopped once");
        thread.stop(deadline).expect("the engine's thread did not panic");
        let load = self.handle.load();
        assert_eq!((load.num_running, load.num_waiting), (0, 0), "nothing is served any more");
        assert_eq!(load.num_free_blocks, load.num_blocks, "all blocks are free");
        load
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        // A test that failed must not leave the engine's thread at a closed gate.
        self.gate.open();
    }
}

impl Knobs {
    fn scheduler(&self) -> SchedulerConfig {
        let positive = |value| NonZeroU32::new(value).expect("limits are positive");
        SchedulerConfig {
            block_size: BlockSize::try_from(self.block_size).expect("a block size"),
            num_blocks: positive(self.num_blocks),
            max_num_batched_tokens: positive(self.max_num_batched_tokens),
            max_num_seqs: positive(self.max_num_seqs),
            max_waiting: positive(self.max_waiting),
            max_model_len: positive(self.max_model_len),
            max_in_flight_steps: positive(self.depth),
            prefix_caching: self.prefix_caching,
            ageing_interval: self.ageing_interval,
            long_prefill_threshold: self.chunk.map(positive),
        }
    }
}

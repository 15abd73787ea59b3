//! Random requests, clients that hang up, stop strings and broken steps, at both depths.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use spillway_engine::EngineError;
use spillway_tests::{Answer, Ask, Knobs, TestEngine, prompts_are_tokenised};
use spillway_types::{CacheSalt, FinishReason, Priority, Prompt, Sampling, TokenId};

use crate::fake::{FakeExecutor, Trouble};
use crate::oracle::{END, expected, served, vocab_size};

/// Worlds of each kind, one for each seed from 0.
const NUM_WORLDS: u64 = 40;
/// Now and then something breaks.
const TROUBLE: Trouble = Trouble { launch: 3, step: 6, short_answer: 3, row: 2, panic: 2 };

type Outcome = Result<Answer, EngineError>;

/// A client and what it asked.
struct Client {
    ask: Ask,
    outcome: BoxFuture<'static, Outcome>,
}

/// What became of the clients of one world.
#[derive(Debug, Default)]
struct Tally {
    num_answered: u32,
    num_stopped_by_text: u32,
    num_failed: u32,
    num_hung_up: u32,
    num_preemptions: u64,
    prefix_hits: u64,
    num_chunks: usize,
    num_overlapped: usize,
}

struct World {
    random: StdRng,
    engine: TestEngine,
    knobs: Knobs,
    clients: Vec<Client>,
    tally: Tally,
    has_trouble: bool,
    /// Prompts begin with one of these, so that prefixes are shared.
    beginnings: Vec<Vec<u32>>,
}

impl World {
    fn new(seed: u64, depth: u32, trouble: Trouble) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let block_size = 1 << random.random_range(0..4);
        let max_model_len = 80;
        let max_num_seqs = random.random_range(1..9);
        let knobs = Knobs {
            block_size,
            // Sometimes not even one long sequence fits.
            num_blocks: random.random_range(60..300_u32).div_ceil(block_size),
            max_num_batched_tokens: random.random_range(max_num_seqs..64),
            max_num_seqs,
            max_waiting: 1024,
            max_model_len,
            chunk: random.random_bool(0.5).then(|| random.random_range(1..20)),
            depth,
            prefix_caching: random.random_bool(0.8),
            ageing_interval: Duration::from_millis(200),
            max_queue_ttft: None,
        };
        let clock = Arc::default();
        let executor = FakeExecutor::new(&knobs, trouble, seed, Arc::clone(&clock));
        let engine = TestEngine::over(Box::new(executor), served(), &knobs, clock);
        let mut beginnings = Vec::new();
        for _ in 0..3 {
            beginnings.push((0..30).map(|_| random.random_range(0..vocab_size())).collect());
        }
        Self {
            random,
            engine,
            knobs,
            clients: Vec::new(),
            tally: Tally::default(),
            has_trouble: trouble != Trouble::default(),
            beginnings,
        }
    }

    /// A request that fits into the context. Its longest prompt fits into the cache, too.
    fn ask(&mut self) -> Ask {
        let random = &mut self.random;
        let beginning = &self.beginnings[random.random_range(0..self.beginnings.len())];
        let num_tokens = random.random_range(1..50);
        let num_shared = random.random_range(0..=beginning.len()).min(num_tokens);
        let own = (num_shared..num_tokens).map(|_| random.random_range(0..vocab_size()));
        let prompt: Vec<u32> = beginning[..num_shared].iter().copied().chain(own).collect();
        let stops = ["a", "bb", "cabd", "ddd", "bab", "dabcab", "<end>"];
        let num_stops = [0, 0, 1, 2][random.random_range(0..4)];
        let sampling = Sampling::new(if random.random_bool(0.5) { 0.0 } else { 1.0 }, None, 1.0, 0.0);
        Ask {
            prompt: Prompt::Tokens(prompt.into_iter().map(TokenId).collect()),
            max_tokens: random.random_range(1..=self.knobs.max_model_len - num_tokens as u32),
            sampling: sampling.expect("it is in range"),
            seed: random.random(),
            n: [1, 1, 1, 2, 4][random.random_range(0..5)],
            stop: (0..num_stops).map(|_| stops[random.random_range(1..stops.len())].to_owned()).collect(),
            ignore_eos: random.random_bool(0.5),
            priority: Priority::ALL[random.random_range(0..3)],
            cache_salt: random.random_bool(0.2).then(|| CacheSalt::new("own")),
            ..Ask::greedy(&[], 1)
        }
    }

    /// Lets clients come and go while the engine stands still, then lets it take one step; over and over. At last it may
    /// run until all are served.
    async fn live(&mut self, num_steps: u32) {
        self.engine.gate().allow(0);
        for _ in 0..num_steps {
            for _ in 0..[0, 0, 0, 1, 3][self.random.random_range(0..5)] {
                let ask = self.ask();
                let stream = self.engine.generate(ask.clone());
                let outcome = async move { Answer::read(stream.await?).await };
                self.clients.push(Client { ask, outcome: outcome.boxed() });
                self.settle().await;
            }
            if !self.clients.is_empty() && self.random.random_bool(0.1) {
                let who = self.random.random_range(0..self.clients.len());
                // It may be waiting for an answer, or for blocks, or be running, or be stopped by its text just now.
                drop(self.clients.swap_remove(who));
                self.tally.num_hung_up += 1;
            }
            self.step().await;
        }
        self.engine.gate().open();
        poll_fn(|ctx| if self.all_are_served(ctx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Waits until the newest client's request is in the engine's channel.
    async fn settle(&mut self) {
        let mut fence = pin!(prompts_are_tokenised());
        poll_fn(|ctx| {
            self.all_are_served(ctx);
            fence.as_mut().poll(ctx)
        })
        .await;
    }

    /// Lets the engine take one step, and waits until it stands still again or all clients are served.
    async fn step(&mut self) {
        let gate = Arc::clone(self.engine.gate());
        gate.allow(1);
        let mut engine_waits = pin!(gate.engine_waits());
        poll_fn(
            |ctx| if self.all_are_served(ctx) { Poll::Ready(()) } else { engine_waits.as_mut().poll(ctx) },
        )
        .await;
    }

    /// Lets every client read what there is, and checks those that have come to an end.
    fn all_are_served(&mut self, ctx: &mut Context<'_>) -> bool {
        let mut client_idx = 0;
        while client_idx < self.clients.len() {
            match self.clients[client_idx].outcome.as_mut().poll(ctx) {
                Poll::Pending => client_idx += 1,
                Poll::Ready(outcome) => {
                    let client = self.clients.swap_remove(client_idx);
                    self.check(&client.ask, outcome);
                }
            }
        }
        self.clients.is_empty()
    }

    fn check(&mut self, ask: &Ask, outcome: Outcome) {
        let Prompt::Tokens(prompt) = &ask.prompt else { panic!("the simulation asks with tokens") };
        let cache_tokens = self.knobs.num_blocks * self.knobs.block_size;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(EngineError::CacheTooSmall { .. }) => {
                assert!(prompt.len() as u32 > cache_tokens, "{} tokens have room", prompt.len());
                return;
            }
            Err(EngineError::StepFailed { .. }) if self.has_trouble => {
                self.tally.num_failed += 1;
                return;
            }
            Err(error) => panic!("a request failed: {error}"),
        };
        // The last token of a sequence is never computed.
        let max_len = (self.knobs.max_model_len).min(cache_tokens + 1) as usize;
        assert_eq!(answer.choices.len(), ask.n as usize);
        for (choice, index) in answer.choices.iter().zip(0..) {
            let expected = expected(ask, index, max_len);
            assert_eq!(choice.tokens, expected.tokens, "choice {index} of {ask:?}");
            assert_eq!(choice.logprobs, expected.logprobs, "choice {index} of {ask:?}");
            assert_eq!((choice.text(), choice.reason), (expected.text, expected.reason), "{ask:?}");
            let is_stopped_by_text =
                choice.reason == FinishReason::Stop && choice.tokens.last() != Some(&END);
            self.tally.num_stopped_by_text += u32::from(is_stopped_by_text);
        }
        let num_generated: usize = answer.choices.iter().map(|choice| choice.tokens.len()).sum();
        assert_eq!(answer.usage.completion_tokens as usize, num_generated);
        assert_eq!(answer.usage.prompt_tokens as usize, prompt.len());
        assert!(answer.usage.cached_tokens < answer.usage.prompt_tokens);
        self.tally.num_answered += 1;
    }

    /// Ends the engine, which must be left with all its blocks, and counts what happened.
    fn end(mut self) -> Tally {
        let steps = self.engine.take_steps();
        let load = self.engine.stop();
        self.tally.num_preemptions = load.num_preemptions;
        self.tally.prefix_hits = load.prefix_hits;
        self.tally.num_chunks = steps.num_chunks();
        self.tally.num_overlapped = steps.num_overlapped();
        self.tally
    }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.num_answered += other.num_answered;
        self.num_stopped_by_text += other.num_stopped_by_text;
        self.num_failed += other.num_failed;
        self.num_hung_up += other.num_hung_up;
        self.num_preemptions += other.num_preemptions;
        self.prefix_hits += other.prefix_hits;
        self.num_chunks += other.num_chunks;
        self.num_overlapped += other.num_overlapped;
    }
}

fn live_many(depth: u32, trouble: Trouble) -> Tally {
    let mut sum = Tally::default();
    for seed in 0..NUM_WORLDS {
        println!("world {seed}");
        let mut world = World::new(seed, depth, trouble);
        let runtime = Arc::clone(world.engine.runtime());
        runtime.block_on(world.live(120));
        sum.add(&world.end());
    }
    println!("{sum:?}");
    assert!(sum.num_answered > 1000, "{sum:?}");
    assert!(sum.num_hung_up > 100 && sum.num_stopped_by_text > 100, "{sum:?}");
    assert!(sum.num_preemptions > 100 && sum.prefix_hits > 1000 && sum.num_chunks > 100, "{sum:?}");
    assert_eq!(sum.num_overlapped > 0, depth == 2, "{sum:?}");
    sum
}

#[test]
fn every_request_gets_its_undisturbed_tokens_with_one_step_in_flight() {
    live_many(1, Trouble::default());
}

#[test]
fn every_request_gets_its_undisturbed_tokens_with_two_steps_in_flight() {
    live_many(2, Trouble::default());
}

#[test]
fn broken_steps_take_only_their_own_requests_with_one_step_in_flight() {
    assert!(live_many(1, TROUBLE).num_failed > 100);
}

#[test]
fn broken_steps_take_only_their_own_requests_with_two_steps_in_flight() {
    assert!(live_many(2, TROUBLE).num_failed > 100);
}

//! What else must not matter: how tokens are chosen, who else hangs up, and whether a token was decoded or read.

use std::collections::HashSet;
use std::num::NonZeroU32;

use spillway_models::DtypePolicy;
use spillway_tests::{Answer, Ask, Choice, Knobs, LoadKnobs, TestEngine, TestModel, tiny_model};
use spillway_types::{BlockId, CacheSalt, Penalties, Sampling, TokenBias, TokenConstraints, TokenId};

use crate::workload::Workload;

const VOCAB_SIZE: u32 = 512;

fn model() -> TestModel {
    TestModel::load(&tiny_model("llama3"), &LoadKnobs { dtype: DtypePolicy::F32, ..LoadKnobs::default() })
}

/// Everything that disturbs at once.
fn crowded(depth: u32) -> Knobs {
    Knobs { num_blocks: 27, block_size: 8, chunk: Some(7), depth, ..Knobs::default() }
}

fn random_sampling() -> Sampling {
    Sampling::new(0.9, NonZeroU32::new(40), 0.95, 0.01).expect("it is in range")
}

#[test]
fn seeded_random_tokens_do_not_depend_on_company() {
    let model = model();
    let workload = Workload::random(VOCAB_SIZE);
    let asks: Vec<Ask> = workload
        .asks(16)
        .into_iter()
        .zip(0..)
        .map(|(ask, seed)| ask.random(random_sampling(), seed))
        .collect();
    let roomy = TestEngine::start(&model, &Knobs::default());
    let alone: Vec<Choice> =
        asks.iter().map(|ask| roomy.run(std::slice::from_ref(ask))[0].only().clone()).collect();
    // The test would pass for greedy tokens too.
    let reseeded = roomy.run(&[asks[0].clone().random(random_sampling(), 99)]);
    assert_ne!(reseeded[0].only().tokens, alone[0].tokens, "another seed gives other tokens");
    roomy.stop();

    // The smaller budget cuts prompts wherever the decodes of a step leave off.
    for (depth, max_num_batched_tokens) in [(1, 2048), (2, 2048), (1, 19), (2, 19)] {
        let engine = TestEngine::start(&model, &Knobs { max_num_batched_tokens, ..crowded(depth) });
        for (answer, alone) in engine.run(&asks).iter().zip(&alone) {
            assert_eq!(answer.only().tokens, alone.tokens, "depth {depth}");
            assert_eq!(answer.only().logprob_bits(), alone.logprob_bits(), "depth {depth}");
        }
        assert!(engine.stop().num_preemptions > 0, "the crowd was too small");
    }
}

#[test]
fn a_decoded_token_is_what_reading_the_same_tokens_gives() {
    let model = model();
    let engine = TestEngine::start(&model, &Knobs { prefix_caching: false, ..Knobs::default() });
    let workload = Workload::random(VOCAB_SIZE);
    for prompt in [&workload.prompts[0], &workload.prompts[4]] {
        let decoded = engine.run(&[Ask::greedy(prompt, 20)])[0].only().clone();
        for num_decoded in 0..20 {
            let read = [prompt, &decoded.tokens[..num_decoded]].concat();
            let next = engine.run(&[Ask::greedy(&read, 1)])[0].only().clone();
            assert_eq!(next.tokens, [decoded.tokens[num_decoded]], "after {num_decoded} tokens");
            assert_eq!(next.logprob_bits(), decoded.logprob_bits()[num_decoded..=num_decoded]);
        }
    }
    engine.stop();
}

#[test]
fn choices_of_one_request_share_its_prompts_blocks() {
    const N: u32 = 4;
    let model = model();
    let prompt = &Workload::random(VOCAB_SIZE).prompts[1];
    for (depth, prefix_caching) in [(1, true), (2, true), (1, false), (2, false)] {
        let engine = TestEngine::start(&model, &Knobs { depth, prefix_caching, ..Knobs::default() });
        let ask = |n, sampling| Ask { n, ..Ask::greedy(prompt, 24).random(sampling, 5) };
        let one = engine.run(&[ask(1, random_sampling())])[0].only().clone();
        let alone = engine.run(&[ask(1, Sampling::Greedy)])[0].only().clone();
        engine.take_steps();
        // A salt of its own: what the requests before left in the cache is not for this one.
        let salted = Ask { cache_salt: Some(CacheSalt::new("own")), ..ask(N, Sampling::Greedy) };
        let answer = &engine.run(&[salted])[0];
        assert!(
            answer.choices.iter().all(|choice| choice.tokens == alone.tokens),
            "greedy choices are equal"
        );
        assert_eq!(answer.usage.prompt_tokens, 100);
        assert_eq!(answer.usage.cached_tokens, 0, "siblings' blocks are no cached tokens");

        // All four decode in one step: tables begin with the same blocks, and own the rest.
        let steps = engine.take_steps();
        let together =
            steps.0.iter().rfind(|step| step.rows.len() == N as usize).expect("all four ran at once");
        let tables: Vec<&[BlockId]> = together.rows.iter().map(|row| &row.blocks[..]).collect();
        let num_shared = 100 / 16;
        assert!(tables.iter().all(|table| table[..num_shared] == tables[0][..num_shared]), "{tables:?}");
        let own: HashSet<BlockId> = tables.iter().flat_map(|table| &table[num_shared..]).copied().collect();
        let num_own: usize = tables.iter().map(|table| table.len() - num_shared).sum();
        assert_eq!(own.len(), num_own, "no block after the prompt is shared: {tables:?}");
        let num_computed: u32 = steps.rows().map(|row| row.num_tokens).sum();
        let most = 100 + (N - 1) * (100 - 96) + N * 23;
        assert_eq!(num_computed, most, "the prompt's full blocks were computed once");

        let answer = &engine.run(&[ask(N, random_sampling())])[0];
        assert_eq!(answer.choices[0].tokens, one.tokens, "the first choice is that of n = 1");
        let different: HashSet<&Vec<u32>> = answer.choices.iter().map(|choice| &choice.tokens).collect();
        assert_eq!(different.len(), N as usize, "each choice has random numbers of its own");
        engine.stop();
    }
}

#[test]
fn a_cache_salt_keeps_prompts_apart() {
    let model = model();
    let prompt = &Workload::random(VOCAB_SIZE).prompts[1];
    let engine = TestEngine::start(&model, &Knobs::default());
    let salted = |salt: &str| Ask { cache_salt: Some(CacheSalt::new(salt)), ..Ask::greedy(prompt, 4) };
    let cached = |ask: Ask| engine.run(&[ask])[0].usage.cached_tokens;
    assert_eq!(cached(salted("ann")), 0);
    assert_eq!(cached(salted("bob")), 0, "another owner's blocks are not found");
    assert_eq!(cached(Ask::greedy(prompt, 4)), 0, "nor without a salt");
    assert_eq!(cached(salted("ann")), 96);
    engine.stop();
}

/// A request is given up after each step in turn, by dropping its stream; the others must not notice.
#[test]
fn a_client_may_hang_up_after_any_step() {
    let model = model();
    let workload = Workload::random(VOCAB_SIZE);
    let mut asks = workload.asks(4);
    for ask in &mut asks {
        ask.max_tokens = 10;
    }
    asks[1].n = 2;
    for depth in [1, 2] {
        let engine = TestEngine::start(&model, &crowded(depth));
        let undisturbed = engine.run(&asks);
        let num_steps = engine.take_steps().0.len() as u64;
        assert!(num_steps > 30, "{num_steps} steps");
        assert!(engine.stop().num_preemptions > 0, "somebody is preempted");
        // With two steps in flight the others are let in after the second.
        for num_before in u64::from(depth)..num_steps {
            let who = num_before as usize % asks.len();
            let engine = TestEngine::start(&model, &crowded(depth));
            for (idx, answer) in hang_up(&engine, &asks, who, num_before).into_iter().enumerate() {
                let Some(answer) = answer else { continue };
                assert_eq!(tokens(&answer), tokens(&undisturbed[idx]), "{who} left after {num_before} steps");
            }
            engine.stop();
        }
    }
}

/// Serves all requests, drops the stream of one after some steps, and reads the others to their end.
fn hang_up(engine: &TestEngine, asks: &[Ask], who: usize, num_before: u64) -> Vec<Option<Answer>> {
    engine.block_on(async {
        let streams = engine.submit_and_hold(asks, num_before).await;
        let mut readers = Vec::new();
        for (idx, stream) in streams.into_iter().enumerate() {
            let stream = stream.expect("it was accepted");
            // Dropped here and now, while the engine waits.
            readers.push(if idx == who { None } else { Some(stream) });
        }
        engine.gate().open();
        let mut answers = Vec::new();
        for stream in readers {
            answers.push(match stream {
                Some(stream) => Some(Answer::read(stream).await.expect("the others are served")),
                None => None,
            });
        }
        answers
    })
}

fn tokens(answer: &Answer) -> Vec<&Vec<u32>> {
    answer.choices.iter().map(|choice| &choice.tokens).collect()
}

/// Goal: penalties, biases and bad words see the sequence's own tokens and nothing else, wherever it runs. Method: some
/// of each in a crowd that is cut, preempted and overlapped, against the same requests alone.
#[test]
fn rules_about_tokens_do_not_depend_on_company() {
    let model = model();
    let workload = Workload::random(VOCAB_SIZE);
    let penalties = Penalties::new(1.3, 0.4, 0.6).expect("in range");
    let bias =
        vec![TokenBias { token: TokenId(7), bias: 2.5 }, TokenBias { token: TokenId(300), bias: -100.0 }];
    let asks: Vec<Ask> = workload
        .asks(16)
        .into_iter()
        .zip(0_u32..)
        .map(|(ask, index)| {
            let sampling = if index % 2 == 0 { Sampling::Greedy } else { random_sampling() };
            let constraints = TokenConstraints {
                allowed: (index % 5 == 0).then(|| (0..VOCAB_SIZE).step_by(3).map(TokenId).collect()),
                bias: if index % 3 == 0 { bias.clone() } else { Vec::new() },
                bad_words: if index % 4 == 1 {
                    vec!["a".to_owned(), "the one".to_owned()]
                } else {
                    Vec::new()
                },
            };
            Ask {
                penalties,
                constraints,
                min_tokens: 5,
                ignore_eos: false,
                ..ask.random(sampling, index.into())
            }
        })
        .collect();
    let roomy = TestEngine::start(&model, &Knobs { prefix_caching: false, ..Knobs::default() });
    let alone: Vec<Choice> =
        asks.iter().map(|ask| roomy.run(std::slice::from_ref(ask))[0].only().clone()).collect();
    let free = roomy.run(&[Ask { penalties: Penalties::NONE, ..asks[1].clone() }]);
    assert_ne!(free[0].only().tokens, alone[1].tokens, "penalties change what comes");
    roomy.stop();
    for (choice, index) in alone.iter().zip(0..) {
        assert!(choice.tokens.len() >= 5, "{index} ended after {} tokens", choice.tokens.len());
        if index % 5 == 0 {
            assert!(choice.tokens.iter().all(|token| token % 3 == 0), "{index}: {:?}", choice.tokens);
        }
    }
    for (depth, max_num_batched_tokens) in [(1, 2048), (2, 2048), (1, 19), (2, 19)] {
        let engine = TestEngine::start(&model, &Knobs { max_num_batched_tokens, ..crowded(depth) });
        for _ in 0..2 {
            for (answer, alone) in engine.run(&asks).iter().zip(&alone) {
                assert_eq!(answer.only().tokens, alone.tokens, "depth {depth}");
                assert_eq!(answer.only().logprob_bits(), alone.logprob_bits(), "depth {depth}");
            }
        }
        assert!(engine.stop().num_preemptions > 0, "the crowd was too small");
    }
}

#[test]
fn a_request_that_excludes_all_tokens_fails_alone() {
    let model = model();
    let engine = TestEngine::start(&model, &Knobs { depth: 2, ..Knobs::default() });
    let prompt = &Workload::random(VOCAB_SIZE).prompts[5];
    let end = model.end_tokens().to_vec();
    let constraints = TokenConstraints { allowed: Some(end), ..TokenConstraints::default() };
    let stuck = Ask { constraints, min_tokens: 2, ..Ask::greedy(prompt, 4) };
    let answers = engine.run_each(&[stuck, Ask::greedy(prompt, 4)]);
    let error = answers[0].as_ref().expect_err("nothing is left").to_string();
    assert!(error.starts_with("no token is left to choose from at position"), "{error}");
    assert!(answers[1].is_ok());
    engine.stop();
}

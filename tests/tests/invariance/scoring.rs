//! The scores of a prompt, which depend on nothing but the prompt, and are what decoding it would give.

use spillway_models::DtypePolicy;
use spillway_tests::{Answer, Ask, Knobs, LoadKnobs, TestEngine, TestModel, tiny_model};
use spillway_types::{AnswerToken, TopLogprobs};

use crate::workload::Workload;

fn model() -> TestModel {
    TestModel::load(&tiny_model("llama3"), &LoadKnobs { dtype: DtypePolicy::F32, ..LoadKnobs::default() })
}

fn top(count: u32) -> TopLogprobs {
    TopLogprobs::try_from(count).expect("it is within the limit")
}

fn scored(prompt: &[u32], max_tokens: u32) -> Ask {
    Ask { logprobs: Some(top(3)), prompt_logprobs: Some(top(3)), ..Ask::greedy(prompt, max_tokens) }
}

fn id(scored: &AnswerToken) -> u32 {
    scored.token.expect("an engine tells its tokens").0
}

fn bits(scored: &[AnswerToken]) -> Vec<(u32, u32)> {
    scored.iter().map(|scored| (id(scored), scored.logprob.to_bits())).collect()
}

/// Goal: a scored prompt equals its computation token by token. Method: each beginning of the prompt is a request of
/// its own, whose first token is told with all the alternatives that may be asked for.
#[test]
fn the_score_of_a_token_is_what_a_prompt_that_ends_before_it_gives() {
    let model = model();
    let engine = TestEngine::start(&model, &Knobs { prefix_caching: false, ..Knobs::default() });
    let prompt = &Workload::random(512).prompts[12];
    let whole = engine.run(&[scored(prompt, 4)]).remove(0);
    assert_eq!(whole.prompt.len(), prompt.len() - 1, "nothing stands before the first token");
    for (position, scored_token) in (1..).zip(&whole.prompt) {
        assert_eq!(id(scored_token), prompt[position], "in order");
        let next = engine.run(&[scored(&prompt[..position], 1)]).remove(0);
        let here = scored_token.detail.as_ref().expect("it was asked for");
        assert_eq!(next.only().details[0].top, here.top, "position {position}");
        // The same row of logits also tells how likely the prompt's token was.
        let normaliser = here.top.iter().find(|best| best.token == scored_token.token);
        if let Some(best) = normaliser {
            assert_eq!(best.logprob.to_bits(), scored_token.logprob.to_bits());
        }
    }
    // What was generated, sent as a prompt, scores what was told when it was generated.
    let read = [prompt, &whole.only().tokens[..]].concat();
    let again = engine.run(&[scored(&read, 1)]).remove(0);
    let generated: Vec<u32> = again.prompt[prompt.len() - 1..].iter().map(|s| s.logprob.to_bits()).collect();
    assert_eq!(generated, whole.only().logprob_bits());
    assert!(whole.only().details.iter().all(|detail| detail.rank == 1), "greedy tokens are first");
    engine.stop();
}

/// Goal: scores come once and are the same however the prompt is computed. Method: chunks, preemptions, warm caches,
/// two steps in flight, and a slice of the head shorter than a chunk.
#[test]
fn scores_do_not_depend_on_company_and_come_once() {
    let model = model();
    let workload = Workload::random(512);
    let asks: Vec<Ask> = workload.prompts.iter().map(|prompt| scored(prompt, 24)).collect();
    let roomy = TestEngine::start(&model, &Knobs { prefix_caching: false, ..Knobs::default() });
    let alone: Vec<Answer> = asks.iter().map(|ask| roomy.run(std::slice::from_ref(ask)).remove(0)).collect();
    roomy.stop();
    for depth in [1, 2] {
        for chunk in [None, Some(7)] {
            let knobs = Knobs { num_blocks: 27, block_size: 8, chunk, depth, ..Knobs::default() };
            let engine = TestEngine::start(&model, &knobs);
            for _ in 0..2 {
                for (answer, alone) in engine.run(&asks).iter().zip(&alone) {
                    assert_eq!(bits(&answer.prompt), bits(&alone.prompt), "{knobs:?}");
                    assert_eq!(answer.prompt, alone.prompt, "rankings, {knobs:?}");
                    assert_eq!(answer.choices, alone.choices, "{knobs:?}");
                    assert_eq!(answer.usage.cached_tokens, 0, "it was computed from its beginning");
                }
            }
            assert!(engine.stop().num_preemptions > 0, "the crowd was too small");
        }
    }
}

#[test]
fn choices_of_one_request_have_their_prompt_scored_once() {
    let model = model();
    let prompt = &Workload::random(512).prompts[1];
    for depth in [1, 2] {
        let engine = TestEngine::start(&model, &Knobs { depth, ..Knobs::default() });
        let one = engine.run(&[scored(prompt, 8)]).remove(0);
        let answer = engine.run(&[Ask { n: 3, ..scored(prompt, 8) }]).remove(0);
        assert_eq!(answer.prompt, one.prompt);
        assert!(answer.choices.iter().all(|choice| choice.tokens == one.only().tokens));
        let cached = engine.run(&[Ask::greedy(prompt, 1)])[0].usage.cached_tokens;
        assert_eq!(cached, 96, "later prompts find its blocks");
        engine.stop();
    }
}

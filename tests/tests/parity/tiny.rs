//! Every tiny model, end to end; and the decoder beside candle's model of the same files.

use spillway_models::{CandleDevice, DtypePolicy, ExecutorKind};
use spillway_tests::{
    Ask, Choice, Knobs, LoadKnobs, RealModel, TestEngine, TestModel, demo_model, parity_cases, tiny_model,
    tiny_models,
};
use spillway_types::{ChatPrompt, Prompt, TokenId};

use crate::compare::{check_cases, largest_difference};

#[test]
fn every_tiny_model_gives_the_logits_and_tokens_of_hugging_face() {
    let models = tiny_models();
    assert!(models.len() >= 13, "{} models, must be all of them", models.len());
    for tiny in &models {
        let model = TestModel::load(&tiny_model(&tiny.path), &LoadKnobs::default());
        check_cases(&model, &Knobs::default(), &tiny.prompts);
        let engine = TestEngine::start(&model, &Knobs::default());
        for chat in tiny.chats.iter().filter(|chat| chat.end == spillway_text::PromptEnd::AssistantTurn) {
            let ids = engine
                .handle()
                .tokenize(&Prompt::Chat(ChatPrompt::new(chat.messages.clone())))
                .expect("it can be served");
            let expected: Vec<TokenId> = chat.ids.iter().map(|&id| TokenId(id)).collect();
            assert_eq!(ids, expected, "{} {}", tiny.path, chat.rendered);
        }
        engine.stop();
    }
}

/// What one executor makes of prompts: the answers, and the logits of each prompt's last position.
fn answers(path: &std::path::Path, executor: ExecutorKind, asks: &[Ask]) -> (Vec<Choice>, Vec<Vec<f32>>) {
    let knobs = LoadKnobs { dtype: DtypePolicy::F32, executor, ..LoadKnobs::default() };
    let model = TestModel::load(path, &knobs);
    let engine = TestEngine::start(&model, &Knobs::default());
    let choices = engine.run(asks).iter().map(|answer| answer.only().clone()).collect();
    let logits = engine.take_first_logits();
    engine.stop();
    (choices, logits)
}

fn check_against_candle(path: &std::path::Path, asks: &[Ask]) {
    let (ours, our_logits) = answers(path, ExecutorKind::Native, asks);
    let (theirs, their_logits) = answers(path, ExecutorKind::Candle(CandleDevice::Cpu), asks);
    assert_eq!((our_logits.len(), their_logits.len()), (asks.len(), asks.len()), "{}", path.display());
    for (ours, theirs) in our_logits.iter().zip(&their_logits) {
        let largest = theirs.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        let error = largest_difference(ours, theirs);
        assert!(error <= 1e-3 * largest, "{}: logits differ by {error} of {largest}", path.display());
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.tokens, theirs.tokens, "{}", path.display());
        assert!(largest_difference(&ours.logprobs, &theirs.logprobs) < 1e-2, "{}", path.display());
    }
}

#[test]
fn the_candle_executor_gives_the_tokens_of_the_decoder() {
    for tiny in tiny_models() {
        // candle's Llama has no heads of another size than hidden / heads, nor a divisor for each frequency.
        if tiny.path == "sharded" || tiny.path == "gguf/llama3-f16.gguf" {
            continue;
        }
        let asks: Vec<Ask> = tiny.prompts.iter().map(|case| Ask::greedy(&case.prompt_ids, 16)).collect();
        check_against_candle(&tiny_model(&tiny.path), &asks);
    }
}

#[test]
fn the_candle_executor_gives_the_tokens_of_the_decoder_for_the_demo_model() {
    let cases = parity_cases(RealModel::Demo);
    let asks: Vec<Ask> = cases
        .iter()
        .filter(|case| (16..=81).contains(&case.prompt_ids.len()))
        .take(2)
        .map(|case| Ask::greedy(&case.prompt_ids, 12))
        .collect();
    check_against_candle(&demo_model(), &asks);
}

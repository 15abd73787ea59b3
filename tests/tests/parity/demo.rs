//! The demo model against the reference.

use spillway_models::DtypePolicy;
use spillway_tests::{
    Ask, Knobs, LoadKnobs, TestEngine, TestModel, chat_cases, demo_model, parity_cases, text_cases,
};
use spillway_text::{ChatInput, Detokenizer, Ends, Position, PromptEnd, SpecialText, Timestamp};
use spillway_types::{Prompt, TokenId};

use crate::compare::check_cases;

/// Room for the longest golden prompt and what follows it.
fn knobs() -> Knobs {
    Knobs { max_model_len: 3072, ..Knobs::default() }
}

fn load(dtype: DtypePolicy) -> TestModel {
    TestModel::load(&demo_model(), &LoadKnobs { dtype, ..LoadKnobs::default() })
}

fn ids(tokens: &[TokenId]) -> Vec<u32> {
    tokens.iter().map(|token| token.0).collect()
}

#[test]
fn twelve_prompts_give_the_logits_and_tokens_of_hugging_face() {
    let cases = parity_cases();
    assert_eq!(cases.len(), 12);
    check_cases(&load(DtypePolicy::F32), &knobs(), &cases);
}

/// Quantised products are not held to 1e-3. But they must tell the same story: nearly always the reference's token.
#[test]
fn quantised_products_choose_the_tokens_of_hugging_face_most_of_the_time() {
    let model = load(DtypePolicy::Auto);
    let engine = TestEngine::start(&model, &knobs());
    let (mut num_equal, mut num_tokens) = (0, 0);
    for case in parity_cases().iter().filter(|case| case.prompt_ids.len() < 128) {
        // Each token after the reference's own ones, so that one difference does not make all later ones differ.
        let asks: Vec<Ask> = (0..case.tokens.len())
            .step_by(8)
            .map(|step| Ask::greedy(&[&case.prompt_ids[..], &case.tokens[..step]].concat(), 1))
            .collect();
        let expected = case.tokens.iter().step_by(8);
        num_tokens += asks.len();
        num_equal += engine
            .run(&asks)
            .iter()
            .zip(expected)
            .filter(|(answer, id)| answer.only().tokens[0] == **id)
            .count();
    }
    engine.stop();
    println!("{num_equal} of {num_tokens} tokens are the reference's");
    assert!(num_equal * 10 >= num_tokens * 9, "{num_equal} of {num_tokens} tokens are the reference's");
}

#[test]
fn strings_become_the_tokens_of_hugging_face_and_come_back() {
    let model = load(DtypePolicy::Auto);
    let engine = TestEngine::start(&model, &knobs());
    let cases = text_cases();
    assert!(cases.len() >= 200, "{} strings", cases.len());
    for case in &cases {
        let tokens =
            model.tokenizer().encode_text(&case.text, Ends::Omit).expect("any text can be tokenised");
        assert_eq!(ids(&tokens), case.ids, "{:?}", case.text);
        let markup =
            model.tokenizer().encode_markup(&case.text, Ends::Omit).expect("any text can be tokenised");
        assert_eq!(ids(&markup), case.ids_parsed, "{:?}", case.text);
        assert_eq!(
            engine.handle().detokenize(&tokens).expect("known tokens"),
            case.decoded,
            "{:?}",
            case.text
        );
        // As the engine takes a client's text.
        let prompt = engine.handle().tokenize(&Prompt::Text(case.text.clone())).expect("it can be tokenised");
        assert_eq!(ids(&prompt), case.ids, "{:?}", case.text);
        let mut streamed = String::new();
        let mut detokenizer = Detokenizer::new(model.tokenizer(), Position::Start, SpecialText::Show);
        for &token in &tokens {
            detokenizer.push(model.tokenizer(), token, &mut streamed).expect("a known token");
        }
        detokenizer.finish(&mut streamed);
        assert_eq!(streamed, case.decoded, "token by token");
    }
    engine.stop();
}

#[test]
fn conversations_become_the_tokens_of_hugging_face() {
    let model = load(DtypePolicy::Auto);
    let engine = TestEngine::start(&model, &knobs());
    let template = model.template();
    let cases = chat_cases();
    assert!(cases.len() >= 30, "{} conversations", cases.len());
    for case in &cases {
        let input = ChatInput {
            messages: &case.messages,
            tools: None,
            arguments: None,
            end: case.end,
            now: Timestamp::from_unix_seconds(0),
        };
        let rendered = template.render(&input).expect("the template takes it");
        assert_eq!(rendered.text(), case.rendered, "{}", case.name);
        let tokens = model.tokenizer().encode_prompt(&rendered).expect("it can be tokenised");
        assert_eq!(ids(&tokens), case.ids, "{}", case.name);
        if case.end == PromptEnd::AssistantTurn {
            let prompt =
                engine.handle().tokenize(&Prompt::Chat(case.messages.clone())).expect("it can be served");
            assert_eq!(ids(&prompt), case.ids, "{}", case.name);
        }
    }
    engine.stop();
}

//! Tokenizers and chat templates of real models against the reference.

use spillway_models::DtypePolicy;
use spillway_tests::{
    Knobs, LoadKnobs, RealModel, TestEngine, TestModel, TestText, chat_cases, demo_model, text_cases,
};
use spillway_text::{
    ChatInput, Detokenizer, Ends, Position, PromptEnd, SpecialText, TextError, Timestamp, Tokenizer,
};
use spillway_types::{ChatMessage, ChatPrompt, Prompt, Role, TokenId};

fn ids(tokens: &[TokenId]) -> Vec<u32> {
    tokens.iter().map(|token| token.0).collect()
}

/// The text of tokens, as a client reads it piece by piece.
fn streamed(tokenizer: &Tokenizer, tokens: &[TokenId]) -> String {
    let mut text = String::new();
    let mut detokenizer = Detokenizer::new(tokenizer, Position::Start, SpecialText::Show);
    for &token in tokens {
        detokenizer.push(tokenizer, token, &mut text).expect("a known token");
    }
    detokenizer.finish(&mut text);
    text
}

fn check_strings(model: RealModel) {
    let TestText { tokenizer, .. } = TestText::load(&model.path());
    let cases = text_cases(model);
    assert!(cases.len() >= 240, "{} strings", cases.len());
    for case in &cases {
        let tokens = tokenizer.encode_text(&case.text, Ends::Omit).expect("any text can be tokenised");
        assert_eq!(ids(&tokens), case.ids, "{:?}", case.text);
        let markup = tokenizer.encode_markup(&case.text, Ends::Omit).expect("any text can be tokenised");
        assert_eq!(ids(&markup), case.ids_parsed, "{:?}", case.text);
        let decoded = tokenizer.decode(&tokens, SpecialText::Show).expect("known tokens");
        assert_eq!(decoded, case.decoded, "{:?}", case.text);
        assert_eq!(streamed(&tokenizer, &tokens), case.decoded, "token by token");
    }
}

#[test]
fn strings_become_the_tokens_of_the_demo_model_and_come_back() {
    check_strings(RealModel::Demo);
}

#[test]
fn strings_become_the_tokens_of_gemma_3_and_come_back() {
    check_strings(RealModel::Gemma3);
}

#[test]
fn strings_become_the_tokens_of_qwen_2_5_and_come_back() {
    check_strings(RealModel::Qwen25);
}

/// Without its BOS, Gemma babbles; the file asks for it.
#[test]
fn a_prompt_begins_with_bos_where_the_file_asks_for_it() {
    for (model, bos) in [(RealModel::Demo, None), (RealModel::Gemma3, Some(2)), (RealModel::Qwen25, None)] {
        let TestText { tokenizer, .. } = TestText::load(&model.path());
        let bare = tokenizer.encode_text("The river", Ends::Omit).expect("any text can be tokenised");
        let prompt = tokenizer.encode_text("The river", Ends::Add).expect("any text can be tokenised");
        let expected: Vec<u32> = bos.into_iter().chain(ids(&bare)).collect();
        assert_eq!(ids(&prompt), expected, "{model:?}");
    }
}

fn input(messages: &[ChatMessage], end: PromptEnd) -> ChatInput<'_> {
    ChatInput { messages, tools: None, arguments: None, end, now: Timestamp::from_unix_seconds(0) }
}

#[test]
fn conversations_become_the_tokens_of_hugging_face() {
    for model in [RealModel::Demo, RealModel::Qwen25] {
        let TestText { tokenizer, template } = TestText::load(&model.path());
        let cases = chat_cases(model);
        assert!(cases.len() >= 30, "{} conversations", cases.len());
        for case in &cases {
            let rendered = template.render(&input(&case.messages, case.end)).expect("the template takes it");
            assert_eq!(rendered.text(), case.rendered, "{model:?} {}", case.name);
            let tokens = tokenizer.encode_prompt(&rendered).expect("it can be tokenised");
            assert_eq!(ids(&tokens), case.ids, "{model:?} {}", case.name);
        }
    }
}

#[test]
fn a_base_model_has_no_template_and_says_what_to_do_instead() {
    let TestText { template, .. } = TestText::load(&RealModel::Gemma3.path());
    assert!(!template.is_present());
    let messages = [ChatMessage::new(Role::User, "Hi")];
    let error = template.render(&input(&messages, PromptEnd::AssistantTurn)).expect_err("it has none");
    assert!(matches!(error, TextError::NoTemplate), "{error}");
    assert!(error.to_string().contains("/v1/completions"), "{error}");
}

#[test]
fn an_engine_tokenises_as_its_tokenizer_and_template_do() {
    let knobs = LoadKnobs { dtype: DtypePolicy::Auto, ..LoadKnobs::default() };
    let model = TestModel::load(&demo_model(), &knobs);
    let engine = TestEngine::start(&model, &Knobs { max_model_len: 3072, ..Knobs::default() });
    for case in text_cases(RealModel::Demo) {
        let prompt = engine.handle().tokenize(&Prompt::Text(case.text.clone())).expect("it can be tokenised");
        assert_eq!(ids(&prompt), case.ids, "{:?}", case.text);
        let text = engine.handle().detokenize(&prompt).expect("known tokens");
        assert_eq!(text, case.decoded, "{:?}", case.text);
    }
    let chats = chat_cases(RealModel::Demo);
    for case in chats.iter().filter(|case| case.end == PromptEnd::AssistantTurn) {
        let prompt = engine
            .handle()
            .tokenize(&Prompt::Chat(ChatPrompt::new(case.messages.clone())))
            .expect("it can be served");
        assert_eq!(ids(&prompt), case.ids, "{}", case.name);
    }
    engine.stop();
}

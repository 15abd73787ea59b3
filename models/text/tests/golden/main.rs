//! The crate against what Hugging Face computed for the tiny models in `tests/golden/tiny`.
//!
//! The same tokenizers come as `tokenizer.json` and as GGUF vocabularies, so both ways in are held to the
//! same ids. The demo model's goldens are checked by `spillway-tests`, which has its file.

mod cases;
mod gguf_metadata;
mod templates;

use std::path::{Path, PathBuf};

use spillway_text::{
    ChatInput, ChatTemplate, Detokenizer, Ends, GenerationConfig, Position, PromptEnd, SpecialText,
    TextError, Timestamp, Tokenizer, TokenizerConfig,
};
use spillway_types::{ChatMessage, Role, TokenId};

use cases::{ModelCases, read_cases, read_sentence_piece};

/// A tokenizer and a chat template, however they were stored.
struct Text {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(path: &str) -> Text {
    let path = tiny().join(path);
    if path.is_dir() { load_folder(&path) } else { load_gguf(&path) }
}

fn load_folder(folder: &Path) -> Text {
    let config =
        TokenizerConfig::from_json(&read(&folder.join("tokenizer_config.json"))).expect("a valid config");
    let tokenizer =
        Tokenizer::from_hf_json(&read(&folder.join("tokenizer.json")), &config).expect("a valid tokenizer");
    let file = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let source = file.as_deref().or(config.chat_template());
    let template = ChatTemplate::compile(source, &tokenizer).expect("a valid template");
    Text { tokenizer, template }
}

fn load_gguf(file: &Path) -> Text {
    let metadata = gguf_metadata::read(&read(file));
    let tokenizer = Tokenizer::from_gguf(&gguf_metadata::vocabulary(&metadata)).expect("a valid vocabulary");
    let source = metadata["tokenizer.chat_template"].as_str();
    let template = ChatTemplate::compile(source, &tokenizer).expect("a valid template");
    Text { tokenizer, template }
}

fn chat(messages: &[ChatMessage], end: PromptEnd) -> ChatInput<'_> {
    ChatInput { messages, tools: None, arguments: None, end, now: Timestamp::from_unix_seconds(0) }
}

fn check_each(check: impl Fn(&ModelCases, &Text)) {
    let models = read_cases(&tiny().with_extension("json"));
    assert!(models.len() >= 11, "{} models, must be all of them", models.len());
    for model in models {
        let text = load(&model.path);
        check(&model, &text);
    }
}

#[test]
fn texts_become_the_tokens_of_hugging_face_and_come_back() {
    check_each(|model, Text { tokenizer, .. }| {
        for case in &model.texts {
            let ids = tokenizer.encode_text(&case.text, Ends::Omit).expect("text is tokenised");
            assert_eq!(ids, case.ids, "{} {:?}", model.path, case.text);
            let decoded = tokenizer.decode(&ids, SpecialText::Show).expect("tokens are in the vocabulary");
            assert_eq!(decoded, case.decoded, "{}", model.path);
        }
        for case in &model.prompts {
            let ids = tokenizer.encode_text(&case.text, Ends::Add).expect("text is tokenised");
            assert_eq!(ids, case.ids, "{} {:?}", model.path, case.text);
        }
    });
}

#[test]
fn a_sentence_piece_vocabulary_gives_the_tokens_of_hugging_face() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentence_piece.json");
    let (vocabulary, cases) = read_sentence_piece(&file);
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("a valid vocabulary");
    assert!(cases.len() >= 29, "{} cases, must be all of them", cases.len());
    for case in cases {
        let ids = tokenizer.encode_text(&case.text, Ends::Omit).expect("text is tokenised");
        assert_eq!(ids, case.ids, "{:?}", case.text);
        let decoded = tokenizer.decode(&ids, SpecialText::Show).expect("tokens are in the vocabulary");
        assert_eq!(decoded, case.decoded);
    }
}

#[test]
fn conversations_become_the_tokens_of_hugging_face() {
    check_each(|model, Text { tokenizer, template }| {
        for case in &model.chats {
            let prompt = template
                .render(&chat(&case.messages, case.end))
                .expect("the template takes the conversation");
            assert_eq!(prompt.text(), case.rendered, "{}", model.path);
            let ids = tokenizer.encode_prompt(&prompt).expect("prompts are tokenised");
            assert_eq!(ids, case.ids, "{} {:?}", model.path, case.rendered);
        }
    });
}

#[test]
fn text_decoded_token_by_token_is_text_decoded_at_once() {
    check_each(|model, Text { tokenizer, .. }| {
        for case in &model.prompts {
            let mut detokenizer = Detokenizer::new(tokenizer, Position::Start, SpecialText::Skip);
            let mut text = String::new();
            for &id in &case.ids {
                detokenizer.push(tokenizer, id, &mut text).expect("tokens are in the vocabulary");
            }
            detokenizer.finish(&mut text);
            assert_eq!(text, case.text, "{}", model.path);
        }
    });
}

#[test]
fn ends_and_sampling_defaults_are_read_from_the_files() {
    let folder = tiny().join("llama3");
    let config =
        GenerationConfig::from_json(&read(&folder.join("generation_config.json"))).expect("a valid config");
    assert_eq!(config.eos_tokens, [TokenId(510), TokenId(507)]);
    assert_eq!((config.do_sample, config.temperature, config.top_p), (Some(true), Some(0.6), Some(0.9)));
    let special = *load("llama3").tokenizer.special_tokens();
    assert_eq!((special.bos, special.eos), (Some(TokenId(506)), Some(TokenId(510))));
    assert_eq!(load("gguf/llama3-f16.gguf").tokenizer.special_tokens().bos, special.bos);
}

#[test]
fn a_template_that_refuses_a_conversation_is_quoted() {
    let Text { template, .. } = load("llama3");
    let messages = [ChatMessage::new(Role::Tool, "42")];
    match template.render(&chat(&messages, PromptEnd::AssistantTurn)) {
        Err(TextError::TemplateRaised { message }) => assert_eq!(message, "no role tool in this template"),
        other => panic!("the template refuses tools, not {other:?}"),
    }
}

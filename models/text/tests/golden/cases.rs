//! Reads `tests/golden/tiny.json`, whose README says what the fields mean, and `sentence_piece.json` beside
//! this file.

use std::path::Path;

use serde_json::Value;
use spillway_text::{GgufVocabulary, PromptEnd, TokenType};
use spillway_types::{ChatMessage, Role, TokenId};

/// The cases of one model.
pub(crate) struct ModelCases {
    pub(crate) path: String,
    pub(crate) texts: Vec<TextCase>,
    pub(crate) prompts: Vec<TextCase>,
    pub(crate) chats: Vec<ChatCase>,
}

/// A text and its tokens.
pub(crate) struct TextCase {
    pub(crate) text: String,
    pub(crate) ids: Vec<TokenId>,
    pub(crate) decoded: String,
}

/// A conversation, its rendering and its tokens.
pub(crate) struct ChatCase {
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) end: PromptEnd,
    pub(crate) rendered: String,
    pub(crate) ids: Vec<TokenId>,
}

/// Reads every model's cases.
pub(crate) fn read_cases(path: &Path) -> Vec<ModelCases> {
    let json: Value = serde_json::from_slice(&super::read(path)).expect("goldens are JSON");
    let models = json["models"].as_array().expect("goldens list models");
    models
        .iter()
        .map(|model| ModelCases {
            path: string(&model["path"]),
            texts: list(&model["texts"], |case| text_case(case, "ids")),
            prompts: list(&model["prompts"], |case| text_case(case, "prompt_ids")),
            chats: list(&model["chats"], chat_case),
        })
        .collect()
}

/// Reads a `SentencePiece` vocabulary and its cases.
pub(crate) fn read_sentence_piece(path: &Path) -> (GgufVocabulary, Vec<TextCase>) {
    let json: Value = serde_json::from_slice(&super::read(path)).expect("goldens are JSON");
    let number =
        |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok()).expect("an integer");
    let vocabulary = GgufVocabulary {
        model: "llama".to_owned(),
        tokens: list(&json["pieces"], string),
        token_types: list(&json["types"], |kind| TokenType::from_gguf(number(kind)).expect("a type")),
        scores: list(&json["scores"], |score| score.as_f64().expect("a float") as f32),
        unk: Some(TokenId(0)),
        bos: Some(TokenId(1)),
        eos: Some(TokenId(2)),
        ..GgufVocabulary::default()
    };
    (vocabulary, list(&json["cases"], |case| text_case(case, "ids")))
}

fn text_case(case: &Value, ids: &str) -> TextCase {
    let text = string(&case["text"]);
    let decoded = case.get("decoded").map_or_else(|| text.clone(), string);
    TextCase { text, ids: list(&case[ids], token), decoded }
}

fn chat_case(case: &Value) -> ChatCase {
    ChatCase {
        messages: messages(&case["messages"]),
        end: if case["add_generation_prompt"].as_bool().expect("a flag") {
            PromptEnd::AssistantTurn
        } else {
            PromptEnd::LastMessage
        },
        rendered: string(&case["rendered"]),
        ids: list(&case["ids"], token),
    }
}

/// The messages of a conversation.
pub(crate) fn messages(value: &Value) -> Vec<ChatMessage> {
    list(value, |message| ChatMessage::new(role(&message["role"]), string(&message["content"])))
}

fn role(word: &Value) -> Role {
    let roles = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool];
    roles.into_iter().find(|role| word == role.as_str()).expect("a known role")
}

fn list<Item>(value: &Value, read: impl Fn(&Value) -> Item) -> Vec<Item> {
    value.as_array().expect("a list").iter().map(read).collect()
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn token(value: &Value) -> TokenId {
    TokenId(value.as_u64().and_then(|id| u32::try_from(id).ok()).expect("a token id"))
}

//! Reads the golden files; `golden/README.md` says what their fields mean.

use std::path::Path;

use serde_json::Value;
use spillway_text::PromptEnd;
use spillway_types::{ChatMessage, ChatPrompt, Prompt, Role};

use crate::places::golden_folder;
use crate::real_model::RealModel;

/// A prompt, its tokens, and what the reference made of it.
#[derive(Debug, Clone)]
pub struct ParityCase {
    /// For messages.
    pub name: String,
    /// As a client writes it.
    pub prompt: Prompt,
    /// What it must become.
    pub prompt_ids: Vec<u32>,
    /// Logits at the last position.
    pub logits: GoldenLogits,
    /// Greedy tokens.
    pub tokens: Vec<u32>,
    /// At each of them, how far ahead it was of the second best.
    pub margins: Vec<f32>,
    /// The natural logarithm of each one's probability.
    pub logprobs: Vec<f32>,
}

/// Logits of one position, or a sample of them.
#[derive(Debug, Clone)]
pub struct GoldenLogits {
    /// Every how many-th token's logit is kept.
    pub every: usize,
    /// Those of the tokens 0, `every`, 2 `every` ..
    pub values: Vec<f32>,
    /// The largest magnitude of all, kept or not.
    pub max_abs: f32,
}

/// A text and its tokens.
#[derive(Debug, Clone)]
pub struct TextCase {
    /// What is encoded, with no part of it special.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Its tokens where special tokens are looked for.
    pub ids_parsed: Vec<u32>,
    /// The text of the tokens.
    pub decoded: String,
}

/// A conversation, its rendering and its tokens.
#[derive(Debug, Clone)]
pub struct ChatCase {
    /// For messages.
    pub name: String,
    /// The conversation.
    pub messages: Vec<ChatMessage>,
    /// What the prompt ends with.
    pub end: PromptEnd,
    /// The template's text.
    pub rendered: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// What the reference made of one tiny model.
#[derive(Debug, Clone)]
pub struct TinyModel {
    /// Path under the folder of its kind.
    pub path: String,
    /// What the context is limited to; the model's own limit if absent.
    pub max_model_len: Option<u32>,
    /// Raw prompts.
    pub prompts: Vec<ParityCase>,
    /// Conversations.
    pub chats: Vec<ChatCase>,
}

/// The prompts of a real model's `parity.json`, with their logits.
pub fn parity_cases(model: RealModel) -> Vec<ParityCase> {
    let folder = model.golden_folder();
    let golden = read(&folder.join("parity.json"));
    let bytes = std::fs::read(folder.join(string(&golden["logits_file"]))).expect("the logits are there");
    let row_len = number(&golden["logits_shape"][1]) as usize;
    let every = golden.get("logits_every").map_or(1, |every| number(every) as usize);
    let logits = |case: &Value| {
        let bytes = &bytes[number(&case["logits_row"]) as usize * row_len * 4..][..row_len * 4];
        GoldenLogits {
            every,
            values: bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            max_abs: number(&case["logits_max_abs"]) as f32,
        }
    };
    let cases = list(&golden["cases"]).iter().map(|case| {
        let prompt = match string(&case["kind"]) {
            "raw" => Prompt::Text(string(&case["text"]).to_owned()),
            _ => Prompt::Chat(ChatPrompt::new(messages(&case["messages"]))),
        };
        parity_case(string(&case["name"]), prompt, logits(case), case)
    });
    cases.collect()
}

/// The tiny models of `tiny.json`: Llamas in every format.
pub fn tiny_models() -> Vec<TinyModel> {
    models_of("tiny.json")
}

/// The tiny models of `architectures.json`: one or more of every architecture.
pub fn architecture_models() -> Vec<TinyModel> {
    models_of("architectures.json")
}

fn models_of(file: &str) -> Vec<TinyModel> {
    let golden = read(&golden_folder().join(file));
    let models = list(&golden["models"]).iter().map(|model| {
        let path = string(&model["path"]);
        let prompts = list(&model["prompts"]).iter().map(|case| {
            let text = string(&case["text"]);
            let name = format!("{path} {} tokens", list(&case["prompt_ids"]).len());
            let values = floats(&case["logits"]);
            let max_abs = values.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
            let logits = GoldenLogits { every: 1, values, max_abs };
            parity_case(&name, Prompt::Text(text.to_owned()), logits, case)
        });
        TinyModel {
            path: path.to_owned(),
            max_model_len: model.get("max_model_len").map(|limit| number(limit) as u32),
            prompts: prompts.collect(),
            chats: list(&model["chats"]).iter().map(|case| chat_case(path, case)).collect(),
        }
    });
    models.collect()
}

/// The strings of a real model's `text.json`.
pub fn text_cases(model: RealModel) -> Vec<TextCase> {
    let golden = read(&model.golden_folder().join("text.json"));
    let cases = list(&golden["cases"]).iter().map(|case| TextCase {
        text: string(&case["text"]).to_owned(),
        ids: ids(&case["ids"]),
        ids_parsed: ids(case.get("ids_parsed").unwrap_or(&case["ids"])),
        decoded: string(&case["decoded"]).to_owned(),
    });
    cases.collect()
}

/// The conversations of a real model's `chat.json`, which a base model does not have.
pub fn chat_cases(model: RealModel) -> Vec<ChatCase> {
    let golden = read(&model.golden_folder().join("chat.json"));
    list(&golden["cases"]).iter().map(|case| chat_case(string(&case["name"]), case)).collect()
}

fn parity_case(name: &str, prompt: Prompt, logits: GoldenLogits, case: &Value) -> ParityCase {
    ParityCase {
        name: name.to_owned(),
        prompt,
        prompt_ids: ids(&case["prompt_ids"]),
        logits,
        tokens: ids(&case["tokens"]),
        margins: floats(&case["margins"]),
        logprobs: floats(&case["logprobs"]),
    }
}

fn chat_case(name: &str, case: &Value) -> ChatCase {
    let opens_turn = case["add_generation_prompt"].as_bool().expect("a boolean");
    ChatCase {
        name: name.to_owned(),
        messages: messages(&case["messages"]),
        end: if opens_turn { PromptEnd::AssistantTurn } else { PromptEnd::LastMessage },
        rendered: string(&case["rendered"]).to_owned(),
        ids: ids(&case["ids"]),
    }
}

fn messages(value: &Value) -> Vec<ChatMessage> {
    let messages = list(value).iter().map(|message| {
        let word = string(&message["role"]);
        let roles = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool];
        let role = roles.into_iter().find(|role| role.as_str() == word).expect("a known role");
        ChatMessage::new(role, string(&message["content"]))
    });
    messages.collect()
}

pub(crate) fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("goldens are JSON")
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn string(value: &Value) -> &str {
    value.as_str().expect("a string")
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).iter().map(|value| number(value) as f32).collect()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|value| value.as_u64().expect("an id") as u32).collect()
}

//! What servers answer, as serde reads it. Fields that are not needed are passed over.
//!
//! One set of types serves chunks and whole answers of both endpoints: a whole choice has `message` or `text` where a
//! chunk has `delta` or `text`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A chunk of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    /// In the place of an answer, under a good status.
    #[serde(default)]
    pub(super) error: Option<serde_json::Value>,
    /// `error` where old vLLM servers say so.
    #[serde(default)]
    pub(super) object: Option<String>,
}

/// One choice, or what is new in it.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(default, alias = "message")]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) logprobs: Option<Logprobs>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    /// What of the client's it stopped at, a text or a token: vLLM's field.
    #[serde(default)]
    pub(super) stop_reason: Option<serde_json::Value>,
}

/// What is new in a conversation's choice.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    /// The newer word for it. A server that sends both sends the same in both.
    #[serde(default)]
    pub(super) reasoning: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
}

/// A call, or what is new in it.
#[derive(Debug, Deserialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<Function>,
}

/// What is called.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// Log-probabilities in the form of either endpoint.
#[derive(Debug, Deserialize)]
pub(super) struct Logprobs {
    /// Of conversations; llama.cpp's completions have it, too.
    #[serde(default)]
    pub(super) content: Option<Vec<ChatToken>>,
    /// Of completions, as are those below: lists of equal length.
    #[serde(default)]
    pub(super) tokens: Option<Vec<String>>,
    #[serde(default, rename = "token_logprobs")]
    pub(super) of_tokens: Option<Vec<Option<f32>>>,
    #[serde(default, rename = "top_logprobs")]
    pub(super) of_top: Option<Vec<Option<BTreeMap<String, f32>>>>,
}

/// A token, or one that could have come in its place.
#[derive(Debug, Deserialize)]
pub(super) struct ChatToken {
    pub(super) token: String,
    pub(super) logprob: f32,
    #[serde(default)]
    pub(super) bytes: Option<Vec<u8>>,
    #[serde(default)]
    pub(super) top_logprobs: Option<Vec<ChatToken>>,
    /// Told by llama.cpp only.
    #[serde(default)]
    pub(super) id: Option<u32>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u32,
    #[serde(default)]
    pub(super) completion_tokens: u32,
    #[serde(default)]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
}

/// Where a prompt's tokens came from.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Option<u32>,
}

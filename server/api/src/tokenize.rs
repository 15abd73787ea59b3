//! `POST /tokenize` and `POST /detokenize`, in the shapes of vLLM.

use serde::{Deserialize, Serialize};

use crate::openai::Message;

/// Body of `/tokenize`: exactly one of `prompt` and `messages`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeRequest {
    /// Served name of the model; the only one if absent.
    pub model: Option<String>,
    /// Plain text, tokenised with the model's own prefix.
    pub prompt: Option<String>,
    /// A conversation, rendered by the model's chat template.
    pub messages: Option<Vec<Message>>,
}

/// Answer of `/tokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizeResponse {
    /// Number of tokens.
    pub count: usize,
    /// Most tokens of a prompt and its answer together; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// The token ids.
    pub tokens: Vec<u32>,
}

/// Body of `/detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetokenizeRequest {
    /// Served name of the model; the only one if absent.
    pub model: Option<String>,
    /// The token ids.
    pub tokens: Vec<u32>,
}

/// Answer of `/detokenize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}

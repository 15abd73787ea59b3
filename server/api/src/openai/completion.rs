//! `POST /v1/completions`.

use serde::{Deserialize, Serialize};

use super::{ChunkUsage, CompletionLogprobs, FinishReason, PromptLogprobs, StopReason, Usage};

/// The fields that only a completion request has, or that mean something else in a chat.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CompletionRequest {
    /// What to go on from: one prompt or several.
    pub prompt: PromptInput,
    /// Served name of the model; the only one if absent.
    pub model: Option<String>,
    /// Most tokens to generate for each choice; 16 if absent.
    pub max_tokens: Option<u32>,
    /// How many alternatives are told for each token, with its log-probability.
    pub logprobs: Option<u32>,
    /// Whether each choice begins with its prompt.
    pub echo: Option<bool>,
    /// Choices to generate for each prompt, of which the best `n` are answered.
    pub best_of: Option<u32>,
}

/// One prompt or several, each as text or as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "must be a string, a list of strings, a list of token ids or a list of lists of token ids"
)]
pub enum PromptInput {
    /// One text.
    Text(String),
    /// One prompt of token ids. Also the empty list, which is refused.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Several prompts of token ids.
    TokenLists(Vec<Vec<u32>>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Completion {
    /// Name of this answer.
    pub id: String,
    /// Always `text_completion`.
    pub object: &'static str,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Served name of the model.
    pub model: String,
    /// The answers: those of the first prompt, then those of the second, and so on.
    pub choices: Vec<CompletionChoice>,
    /// What it cost.
    pub usage: Usage,
}

impl Completion {
    /// Value of `object`, in chunks as well.
    pub const OBJECT: &'static str = "text_completion";
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionChoice {
    /// Position among the choices.
    pub index: u32,
    /// The text, after the prompt if that was to be echoed.
    pub text: String,
    /// What is known of its tokens, if that was asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What of the client's it stopped at.
    pub stop_reason: Option<StopReason>,
    /// What is known of the prompt's tokens, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionChunk<'a> {
    /// Name of the answer, the same in all its chunks.
    pub id: &'a str,
    /// Always `text_completion`.
    pub object: &'static str,
    /// When the answer was begun, in seconds since 1970.
    pub created: u64,
    /// Served name of the model.
    pub model: &'a str,
    /// What is new: one choice, or none in the chunk that holds the usage.
    pub choices: Vec<CompletionChunkChoice<'a>>,
    /// What it cost, in the last chunk.
    #[serde(skip_serializing_if = "ChunkUsage::is_absent")]
    pub usage: ChunkUsage,
}

/// What is new in one choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionChunkChoice<'a> {
    /// Position among the choices.
    pub index: u32,
    /// The new text.
    pub text: &'a str,
    /// What is known of the chunk's tokens, if that was asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// What of the client's it stopped at, in its last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
}

#[cfg(test)]
mod tests;

//! `POST /v1/completions`.

use serde::{Deserialize, Serialize};

use super::{ChunkUsage, FinishReason, RequestPriority, Stop, StreamOptions, Usage};

/// Body of a completion request: the fields that are honoured. Those of the same name mean what they mean in
/// [`ChatRequest`](super::ChatRequest).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// What to go on from: one prompt or several.
    pub prompt: PromptInput,
    /// Served name of the model; the only one if absent.
    pub model: Option<String>,
    /// Randomness: 0 always takes the most likely token.
    pub temperature: Option<f32>,
    /// Sample from the most likely tokens whose probabilities sum to this.
    pub top_p: Option<f32>,
    /// Sample from this many of the most likely tokens; 0 or -1 is off.
    pub top_k: Option<i64>,
    /// Sample from tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f32>,
    /// The same seed gives the same answer.
    pub seed: Option<i64>,
    /// Most tokens to generate for each choice; 16 if absent.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Option<Stop>,
    /// Go on when the model says that it is done.
    pub ignore_eos: Option<bool>,
    /// Choices to generate for each prompt.
    pub n: Option<u32>,
    /// Answer as server-sent events.
    pub stream: Option<bool>,
    /// What the stream shall hold.
    pub stream_options: Option<StreamOptions>,
    /// Owner of the prefix-cache entries.
    pub cache_salt: Option<String>,
    /// Class in the waiting queue.
    pub priority: Option<RequestPriority>,
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
    /// The text, without the prompt.
    pub text: String,
    /// Always `null`: log-probabilities are not offered.
    pub logprobs: Option<()>,
    /// Why it ended.
    pub finish_reason: FinishReason,
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
    /// Always `null`: log-probabilities are not offered.
    pub logprobs: Option<()>,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
}

#[cfg(test)]
mod tests;

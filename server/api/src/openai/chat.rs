//! `POST /v1/chat/completions`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ChunkUsage, FinishReason, RequestPriority, Stop, StreamOptions, Usage};

/// Body of a chat request: the fields that are honoured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
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
    /// Most tokens to generate, in older clients' word.
    pub max_tokens: Option<u32>,
    /// Most tokens to generate.
    pub max_completion_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Option<Stop>,
    /// Go on when the model says that it is done.
    pub ignore_eos: Option<bool>,
    /// Choices to generate.
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

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said.
    pub content: Content,
    /// The speaker's name.
    pub name: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// Instructions by the application.
    System,
    /// Instructions by the application, in newer clients' word.
    Developer,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
}

/// What is said: text, or a list of parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "must be a string or a list of text parts")]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts, in order.
    Parts(Vec<ContentPart>),
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatCompletion {
    /// Name of this answer.
    pub id: String,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Served name of the model.
    pub model: String,
    /// The answers, by index.
    pub choices: Vec<ChatChoice>,
    /// What it cost.
    pub usage: Usage,
}

impl ChatCompletion {
    /// Value of `object`.
    pub const OBJECT: &'static str = "chat.completion";
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChoice {
    /// Position among the choices.
    pub index: u32,
    /// What the model said.
    pub message: AssistantMessage,
    /// Always `null`: log-probabilities are not offered.
    pub logprobs: Option<()>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: MessageRole,
    /// The text.
    pub content: String,
    /// Always `null`: no model here refuses in a channel of its own.
    pub refusal: Option<()>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChunk<'a> {
    /// Name of the answer, the same in all its chunks.
    pub id: &'a str,
    /// Always `chat.completion.chunk`.
    pub object: &'static str,
    /// When the answer was begun, in seconds since 1970.
    pub created: u64,
    /// Served name of the model.
    pub model: &'a str,
    /// What is new: one choice, or none in the chunk that holds the usage.
    pub choices: Vec<ChatChunkChoice<'a>>,
    /// What it cost, in the last chunk.
    #[serde(skip_serializing_if = "ChunkUsage::is_absent")]
    pub usage: ChunkUsage,
}

impl ChatChunk<'_> {
    /// Value of `object`.
    pub const OBJECT: &'static str = "chat.completion.chunk";
}

/// What is new in one choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatChunkChoice<'a> {
    /// Position among the choices.
    pub index: u32,
    /// What is new.
    pub delta: ChatDelta<'a>,
    /// Always `null`: log-probabilities are not offered.
    pub logprobs: Option<()>,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
}

/// New text of one choice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ChatDelta<'a> {
    /// Who speaks, in the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<MessageRole>,
    /// The new text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests;

//! Answers of `POST /v1/chat/completions`, whole and in chunks.

use std::borrow::Cow;

use serde::Serialize;

use super::MessageRole;
use crate::openai::{
    ChatLogprobs, ChunkUsage, FinishReason, PromptLogprobs, StopReason, ThinkingBlock, ToolCall,
    ToolCallChunk, Usage,
};

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
    /// What is known of the prompt's tokens, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<PromptLogprobs>,
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
    /// What is known of its tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What of the client's it stopped at.
    pub stop_reason: Option<StopReason>,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: MessageRole,
    /// The text; `null` if it only calls tools.
    pub content: Option<String>,
    /// Always `null`: no model here refuses in a channel of its own.
    pub refusal: Option<()>,
    /// What it thought before, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The same in blocks, if its provider must know them again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinking_blocks: Vec<ThinkingBlock>,
    /// The tools that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
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
    /// What is known of the chunk's tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// What of the client's it stopped at, in its last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
}

/// What is new in one choice: text, thinking or calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ChatDelta<'a> {
    /// Who speaks, in the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<MessageRole>,
    /// The new text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Cow<'a, str>>,
    /// New words of what the model thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<Cow<'a, str>>,
    /// Blocks of what it thought that are complete with this chunk, whole: the words were told before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinking_blocks: Vec<ThinkingBlock>,
    /// More of the calls that it makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallChunk<'a>>,
}

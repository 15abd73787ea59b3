//! `POST /v1/chat/completions`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ChatLogprobs, ChunkUsage, FinishReason, PromptLogprobs, StopReason, Usage};

/// The fields that only a chat request has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatRequest {
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Served name of the model; the only one if absent.
    pub model: Option<String>,
    /// Most tokens to generate, in older clients' word.
    pub max_tokens: Option<u32>,
    /// Most tokens to generate.
    pub max_completion_tokens: Option<u32>,
    /// Whether each token is told with its log-probability.
    pub logprobs: Option<bool>,
    /// How many alternatives are told for each token.
    pub top_logprobs: Option<u32>,
    /// Whether the answer begins with the last message, if that is the assistant's.
    pub echo: Option<bool>,
    /// Whether the prompt ends with the opening of an assistant's turn.
    pub add_generation_prompt: Option<bool>,
    /// Whether the model goes on with the last message.
    pub continue_final_message: Option<bool>,
    /// Further variables for the chat template.
    pub chat_template_kwargs: Option<serde_json::Map<String, serde_json::Value>>,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: MessageRole,
    /// What is said. An assistant may say nothing and call tools.
    pub content: Option<Content>,
    /// The speaker's name.
    pub name: Option<String>,
    /// Calls that an assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool answers.
    pub tool_call_id: Option<String>,
}

/// A call of a tool, as an assistant made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Its name, which the tool's answer repeats.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// What was called.
    pub function: FunctionCall,
}

/// What kind of tool was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// A function of the client's.
    Function,
}

/// The function that was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments, as the text of a JSON object.
    pub arguments: String,
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
    /// The result of a tool call.
    Tool,
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
    /// What is known of the chunk's tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended, in its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// What of the client's it stopped at, in its last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
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

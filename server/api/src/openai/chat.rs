//! `POST /v1/chat/completions`: what clients ask. What they are answered is in `chat/answer.rs`.

mod answer;

use serde::{Deserialize, Serialize};

use super::{ReasoningEffort, ResponseFormat, ThinkingBlock, ToolCall, ToolChoice, ToolDefinition};

pub use answer::{AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta};

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
    /// What the model may call.
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether it may, must or must not call something.
    pub tool_choice: Option<ToolChoice>,
    /// Whether one answer may hold several calls.
    pub parallel_tool_calls: Option<bool>,
    /// What the answer must look like.
    pub response_format: Option<ResponseFormat>,
    /// How long the model thinks before it answers.
    pub reasoning_effort: Option<ReasoningEffort>,
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
    /// What an assistant thought, in plain words.
    pub reasoning_content: Option<String>,
    /// What an assistant thought, in blocks that may be signed.
    pub thinking_blocks: Option<Vec<ThinkingBlock>>,
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
#[serde(untagged, expecting = "must be a string or a list of parts")]
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
    /// A picture.
    ImageUrl {
        /// Where it is.
        image_url: ImageUrl,
    },
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUrl {
    /// The picture itself, as a data URL.
    pub url: String,
    /// How closely the model is to look.
    pub detail: Option<ImageDetail>,
}

/// How closely a model looks at a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageDetail {
    /// As it sees fit; nobody can be told another wish.
    Auto,
}

#[cfg(test)]
mod tests;

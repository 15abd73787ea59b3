//! What a client wants generated, free of any wire format.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::{JsonText, ModelId, Priority, RequestId, SamplingParams, TokenId};

/// Who speaks in a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
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

impl Role {
    /// The word in chat templates and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said. Never markup: a special token's text in here stays text.
    pub content: String,
    /// The speaker's name, for templates that show it.
    pub name: Option<String>,
    /// Calls that an assistant made, as the JSON list that templates expect.
    pub tool_calls: Option<JsonText>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), name: None, tool_calls: None, tool_call_id: None }
    }
}

/// A conversation and how it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
    /// What the prompt ends with.
    pub end: ChatEnd,
    /// Further variables for the template, as a JSON object.
    pub arguments: Option<JsonText>,
}

impl ChatPrompt {
    /// A conversation that the model answers.
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self { messages, end: ChatEnd::AssistantTurn, arguments: None }
    }
}

/// What a rendered conversation ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChatEnd {
    /// The opening of an assistant's turn, for the model to go on from.
    AssistantTurn,
    /// The last message, closed.
    LastMessage,
    /// The last message, open, so that the model goes on with it.
    OpenLastMessage,
}

/// Which of a prompt's tokens are kept: always the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truncation {
    /// At most this many.
    Last(NonZeroU32),
    /// As many as leave room for what is to be generated.
    ToFit,
}

/// What the model goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A conversation, rendered by the model's chat template.
    Chat(ChatPrompt),
    /// Plain text, tokenised with the model's own prefix (BOS) and no template.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<TokenId>),
}

/// Keeps prefix-cache entries of different owners apart: blocks are shared only between equal salts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheSalt(Arc<str>);

impl CacheSalt {
    /// Wraps the salt that a client sent.
    pub fn new(salt: impl Into<Arc<str>>) -> Self {
        Self(salt.into())
    }

    /// The salt's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// One request to generate text, checked and typed.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Unique within the process.
    pub request_id: RequestId,
    /// The model that is asked for.
    pub model: ModelId,
    /// What to go on from.
    pub prompt: Prompt,
    /// Which of its tokens are kept; all, if absent.
    pub truncation: Option<Truncation>,
    /// How to choose tokens and when to stop.
    pub params: SamplingParams,
    /// Place in the queue.
    pub priority: Priority,
    /// Owner of the prefix-cache entries; shared by all requests without one.
    pub cache_salt: Option<CacheSalt>,
}

//! What a client wants generated, free of any wire format.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::{JsonSchema, JsonText, ModelId, Priority, RequestId, SamplingParams, TokenId, ToolUse};

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
    /// Pictures in between, in order.
    pub images: Vec<PlacedImage>,
    /// What an assistant thought before it answered, as it was told then.
    pub reasoning: Vec<ReasoningPart>,
}

/// A picture of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedImage {
    /// Byte of the message's content before which it stands; its length for one at the end.
    pub offset: usize,
    /// The picture.
    pub image: Image,
}

/// A picture, still encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// What its bytes say that it is, whatever the client called it.
    pub format: ImageFormat,
    /// The file.
    pub bytes: Arc<[u8]>,
}

/// Pictures are not for logs.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({:?}, {} bytes)", self.format, self.bytes.len())
    }
}

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

/// A piece of an assistant's thinking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasoningPart {
    /// In words, with the signature by which the model's provider knows them again.
    Text {
        /// The words.
        text: String,
        /// The signature, to be sent back unchanged.
        signature: Option<String>,
    },
    /// Hidden by the provider: base64, to be sent back unchanged.
    Redacted(String),
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: None,
            tool_call_id: None,
            images: Vec::new(),
            reasoning: Vec::new(),
        }
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
    /// What the model may call.
    pub tools: Option<ToolUse>,
}

impl ChatPrompt {
    /// A conversation that the model answers.
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self { messages, end: ChatEnd::AssistantTurn, arguments: None, tools: None }
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

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// Anything.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema(JsonSchema),
}

/// How long a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// As usual.
    Medium,
    /// Long.
    High,
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
    /// What the answer must look like.
    pub format: OutputFormat,
    /// How long the model is to think first; the model's own default if absent.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Place in the queue.
    pub priority: Priority,
    /// Owner of the prefix-cache entries; shared by all requests without one.
    pub cache_salt: Option<CacheSalt>,
}

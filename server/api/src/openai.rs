//! OpenAI's HTTP API: chat completions, completions, models, errors.

mod chat;
mod completion;
mod error;
mod generation;
mod models;

pub use chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest,
    Content, ContentPart, Message, MessageRole,
};
pub use completion::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest, PromptInput,
};
pub use error::{ErrorBody, ErrorDetail};
pub use generation::{
    ChunkUsage, FinishReason, PromptTokensDetails, RequestPriority, Stop, StreamOptions, Usage,
};
pub use models::{Model, ModelList};

//! OpenAI's HTTP API: chat completions, completions, models, errors.

mod chat;
mod completion;
mod error;
mod generation;
mod logprobs;
mod models;

pub use chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest,
    Content, ContentPart, FunctionCall, Message, MessageRole, ToolCall, ToolKind,
};
pub use completion::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest, PromptInput,
};
pub use error::{ErrorBody, ErrorDetail};
pub use generation::{
    ChunkUsage, FinishReason, GenerationRequest, PromptTokensDetails, RequestPriority, Stop, StreamOptions,
    Usage,
};
pub use logprobs::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob, PromptLogprobs,
    StopReason, TopTexts,
};
pub use models::{Model, ModelList};

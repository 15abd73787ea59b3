//! OpenAI's HTTP API: chat completions, completions, models, errors.

mod chat;
mod completion;
mod error;
mod format;
mod generation;
mod logprobs;
mod models;
mod reasoning;
mod tools;

pub use chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatRequest,
    Content, ContentPart, ImageDetail, ImageUrl, Message, MessageRole,
};
pub use completion::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest, PromptInput,
};
pub use error::{ErrorBody, ErrorDetail};
pub use format::{JsonSchemaFormat, ResponseFormat, ResponseFormatKind};
pub use generation::{
    ChunkUsage, FinishReason, GenerationRequest, PromptTokensDetails, RequestPriority, Stop, StreamOptions,
    Usage,
};
pub use logprobs::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob, PromptLogprobs,
    StopReason, TopTexts,
};
pub use models::{Model, ModelList};
pub use reasoning::{ReasoningEffort, ThinkingBlock};
pub use tools::{
    FunctionCall, FunctionChunk, FunctionDefinition, FunctionName, NamedTool, ToolCall, ToolCallChunk,
    ToolChoice, ToolChoiceMode, ToolDefinition, ToolKind,
};

//! The nouns of the domain, shared by every room and depending on none.
//!
//! Nothing here knows a wire format, a tensor or a clock. A value that exists is valid: what could be out of range
//! is checked by its constructor.
//!
//! In a request's path: `server::http` makes a [`GenerateRequest`]; the engine answers with [`GenerateEvent`]s.

mod block;
mod event;
mod finish;
mod ids;
mod json;
mod logprobs;
mod money;
mod penalties;
mod priority;
mod request;
mod sampling;
mod text_size;
mod tools;

pub use block::{BlockId, BlockSize, InvalidBlockSize};
pub use event::{
    AnswerToken, GenerateEvent, PromptText, ReasoningDelta, SpelledToken, StopMatch, TextDelta, TokenDetail,
    ToolCallDelta, Usage,
};
pub use finish::FinishReason;
pub use ids::{ModelId, RequestId, SeqId, StepId, TokenId};
pub use json::JsonText;
pub use logprobs::{InvalidTopLogprobs, Ranking, ScoredToken, TokenLogprob, TopLogprobs};
pub use money::{LongPromptPrices, TokenPrices, Usd};
pub use penalties::{Penalties, TokenBias, TokenConstraints};
pub use priority::Priority;
pub use request::{
    CacheSalt, ChatEnd, ChatMessage, ChatPrompt, GenerateRequest, Image, ImageFormat, OutputFormat,
    PlacedImage, Prompt, ReasoningEffort, ReasoningPart, Role, Truncation,
};
pub use sampling::{GivenSampling, InvalidSampling, RandomSampling, Sampling, SamplingParams, Seed};
pub use text_size::TextSize;
pub use tools::{JsonSchema, Tool, ToolChoice, ToolUse};

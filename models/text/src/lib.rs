//! Text of requests to tokens, and tokens of answers to text.
//!
//! Four duties: a [`Tokenizer`] from a Hugging Face folder or a GGUF file; a [`ChatTemplate`] that turns a
//! conversation into a prompt in which no client can forge special tokens; a [`Detokenizer`] and a
//! [`StopMatcher`] that turn generated tokens into text as they come. CPU only; no files, no clock, no
//! threads of its own.
//!
//! In a request's path: called by the engine's async side, before a request is queued and after each step.

mod chat_template;
mod detokenizer;
mod error;
mod generation_config;
mod rendered;
mod stop_matcher;
mod tokenizer;
mod tokenizer_config;
mod trie;

pub use chat_template::{ChatInput, ChatTemplate, PromptEnd, Timestamp};
pub use detokenizer::{Detokenizer, Position};
pub use error::TextError;
pub use generation_config::GenerationConfig;
pub use rendered::{RenderedPrompt, Segment};
pub use stop_matcher::{StopMatcher, StopStatus, StopStrings, StopText};
pub use tokenizer::{Ends, GgufVocabulary, SpecialText, SpecialTokens, TokenType, Tokenizer};
pub use tokenizer_config::TokenizerConfig;

//! What a model thinks before it answers: `reasoning_effort`, and `thinking_blocks` as `LiteLLM` writes them.

use serde::{Deserialize, Serialize};

/// How long a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// A block of thinking, which clients send back unchanged in the next turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type", rename_all = "snake_case")]
pub enum ThinkingBlock {
    /// In words.
    Thinking {
        /// The words.
        thinking: String,
        /// By which the model's provider knows them again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Hidden by the provider.
    RedactedThinking {
        /// What it is to be sent back, as base64.
        data: String,
    },
}

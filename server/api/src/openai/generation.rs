//! What both generating endpoints share: stop strings, stream options, priorities, ends and usage.

use serde::{Deserialize, Serialize, Serializer};

/// Texts that end an answer: one or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a string or a list of strings")]
pub enum Stop {
    /// One text.
    One(String),
    /// Any of these.
    Many(Vec<String>),
}

/// What a stream shall hold beside the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// End the stream with a chunk that holds the usage.
    pub include_usage: Option<bool>,
}

/// Class of a request in the waiting queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestPriority {
    /// Batch work that may wait.
    Low,
    /// The class of a request that names none.
    Normal,
    /// A person is waiting.
    High,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so, or a stop string was met.
    Stop,
    /// The limit of tokens or the context length was reached.
    Length,
}

/// Tokens of one request, as they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Generated tokens of all choices.
    pub completion_tokens: u32,
    /// Both together.
    pub total_tokens: u32,
    /// Where the prompt's tokens came from.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Where the prompt's tokens came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens that were found in the prefix cache.
    pub cached_tokens: u32,
}

/// The field `usage` of a chunk: absent unless it was asked for, then `null` in every chunk but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkUsage {
    /// `stream_options.include_usage` was not set: the field is left out.
    NotAsked,
    /// More chunks follow: `null`.
    Pending,
    /// The last chunk.
    Total(Usage),
}

impl ChunkUsage {
    /// Whether the field is left out.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotAsked)
    }
}

impl Serialize for ChunkUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::NotAsked | Self::Pending => serializer.serialize_none(),
            Self::Total(usage) => usage.serialize(serializer),
        }
    }
}

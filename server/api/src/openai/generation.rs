//! What both generating endpoints share: the fields that mean the same, ends and usage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// The fields that both generating endpoints have, read from the same body as the endpoint's own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct GenerationRequest {
    /// Randomness: 0 always takes the most likely token.
    pub temperature: Option<f32>,
    /// Sample from the most likely tokens whose probabilities sum to this.
    pub top_p: Option<f32>,
    /// Sample from this many of the most likely tokens; 0 or -1 is off.
    pub top_k: Option<i64>,
    /// Sample from tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f32>,
    /// The same seed gives the same answer.
    pub seed: Option<i64>,
    /// What tokens lose for each time that they came.
    pub frequency_penalty: Option<f32>,
    /// What tokens lose that came at all.
    pub presence_penalty: Option<f32>,
    /// Divisor of the logits of tokens that came or stand in the prompt.
    pub repetition_penalty: Option<f32>,
    /// What is added to logits, by token id.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Texts that must not come.
    pub bad_words: Option<Vec<String>>,
    /// The only tokens that may come.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Fewest tokens to generate.
    pub min_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Option<Stop>,
    /// Tokens that end the answer.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Whether what ended the answer is part of it.
    pub include_stop_str_in_output: Option<bool>,
    /// Go on when the model says that it is done.
    pub ignore_eos: Option<bool>,
    /// Whether special tokens are left out of the text.
    pub skip_special_tokens: Option<bool>,
    /// For tokenizers that put spaces between special tokens, which none here does.
    pub spaces_between_special_tokens: Option<bool>,
    /// Whether the tokens of log-probabilities are named by their ids.
    pub return_tokens_as_token_ids: Option<bool>,
    /// How many alternatives are told for each token of the prompt.
    pub prompt_logprobs: Option<i64>,
    /// How many of the prompt's last tokens are kept; -1 is as many as fit.
    pub truncate_prompt_tokens: Option<i64>,
    /// Choices to generate.
    pub n: Option<u32>,
    /// Answer as server-sent events.
    pub stream: Option<bool>,
    /// What the stream shall hold.
    pub stream_options: Option<StreamOptions>,
    /// Owner of the prefix-cache entries.
    pub cache_salt: Option<String>,
    /// Class in the waiting queue.
    pub priority: Option<RequestPriority>,
    /// Who the client's own client is.
    pub user: Option<String>,
}

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

/// Class of a request in the waiting queue, by name or as a number, of which the lower goes first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "must be an integer, \"low\", \"normal\" or \"high\"")]
pub enum RequestPriority {
    /// As in vLLM.
    Number(i64),
    /// `low`, `normal` or `high`.
    Name(String),
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said so, or a stop string was met.
    Stop,
    /// The limit of tokens or the context length was reached.
    Length,
    /// The model calls functions.
    ToolCalls,
    /// A filter ended it.
    ContentFilter,
}

/// Tokens of one request, as they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Generated tokens of all choices.
    pub completion_tokens: u32,
    /// Both together.
    pub total_tokens: u32,
    /// Where the prompt's tokens came from.
    pub prompt_tokens_details: PromptTokensDetails,
    /// What they cost in dollars, if that is known and not nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

/// Where the prompt's tokens came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens that were found in the prefix cache.
    pub cached_tokens: u32,
}

/// The field `usage` of a chunk: absent unless it was asked for, then `null` in every chunk but the last.
#[derive(Debug, Clone, Copy, PartialEq)]
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

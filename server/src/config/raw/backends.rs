//! `[[backends]]`: who can serve. What each key means stands in `config/file_keys.rs`, of which the README is made.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::config::TimeSpan;
use crate::config::dollars::Dollars;

/// One of `[[backends]]`, of any type: which keys go with which is told with the line, so all are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawBackend {
    pub(in crate::config) name: Option<String>,
    #[serde(rename = "type")]
    pub(in crate::config) kind: Option<RawBackendKind>,
    pub(in crate::config) boundary: Option<RawBoundary>,
    pub(in crate::config) model: Option<String>,
    pub(in crate::config) context_tokens: Option<NonZeroU32>,
    pub(in crate::config) max_output_tokens: Option<NonZeroU32>,
    pub(in crate::config) price: Option<RawPrice>,
    pub(in crate::config) tokens_per_minute: Option<NonZeroU64>,
    pub(in crate::config) features: Option<Vec<RawFeature>>,
    pub(in crate::config) features_off: Option<Vec<RawFeature>>,
    pub(in crate::config) streaming: Option<bool>,
    pub(in crate::config) connect_timeout: Option<TimeSpan>,
    pub(in crate::config) first_token_timeout: Option<TimeSpan>,
    pub(in crate::config) idle_timeout: Option<TimeSpan>,
    pub(in crate::config) total_timeout: Option<TimeSpan>,
    // Of type bedrock.
    pub(in crate::config) region: Option<String>,
    pub(in crate::config) aws_profile: Option<String>,
    pub(in crate::config) endpoint_url: Option<String>,
    pub(in crate::config) default_max_tokens: Option<NonZeroU32>,
    pub(in crate::config) service_tier: Option<RawServiceTier>,
    pub(in crate::config) json_schema: Option<RawJsonSchema>,
    pub(in crate::config) tool_choice: Option<RawToolChoice>,
    pub(in crate::config) reasoning: Option<RawReasoning>,
    pub(in crate::config) output_burndown: Option<NonZeroU32>,
    // Of type openai.
    pub(in crate::config) urls: Option<Vec<String>>,
    pub(in crate::config) dialect: Option<RawDialect>,
    pub(in crate::config) api_key: Option<Secret>,
    pub(in crate::config) api_key_env: Option<String>,
    pub(in crate::config) api_key_file: Option<PathBuf>,
    pub(in crate::config) headers: Option<BTreeMap<String, Secret>>,
    pub(in crate::config) ca_file: Option<PathBuf>,
    pub(in crate::config) health_interval: Option<TimeSpan>,
}

impl RawBackend {
    /// Puts a word for each secret, so that the rest can be shown.
    pub(in crate::config) fn hide_secrets(&mut self) {
        self.api_key.iter_mut().for_each(Secret::hide);
        self.headers.iter_mut().flat_map(BTreeMap::values_mut).for_each(Secret::hide);
    }
}

/// `price = { .. }`: dollars for a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawPrice {
    pub(in crate::config) input: Option<Dollars>,
    pub(in crate::config) output: Option<Dollars>,
    pub(in crate::config) cache_read: Option<Dollars>,
    pub(in crate::config) cache_write: Option<Dollars>,
}

/// Values of `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawBackendKind {
    Local,
    Bedrock,
    OpenAi,
}

/// Values of `boundary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawBoundary {
    Inside,
    Outside,
}

/// Values of `service_tier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawServiceTier {
    Default,
    Priority,
    Flex,
    Reserved,
}

/// Values of `json_schema`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawJsonSchema {
    Native,
    Tool,
}

/// Values of `tool_choice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawToolChoice {
    Auto,
    Any,
    Named,
}

/// Values of `reasoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawReasoning {
    Effort,
    Adaptive,
    Budget,
    Nova,
    Field,
}

/// Values of `dialect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawDialect {
    #[serde(rename = "openai")]
    OpenAi,
    Vllm,
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
}

/// Values of `features` and `features_off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawFeature {
    Chat,
    Completion,
    TokenPrompt,
    Tools,
    Images,
    JsonObject,
    JsonSchema,
    Logprobs,
    PromptLogprobs,
    Seed,
    Penalties,
    TokenRules,
    SeveralChoices,
    ReasoningEffort,
    ContinuedMessage,
}

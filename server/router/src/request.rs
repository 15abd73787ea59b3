//! What the router is told of a request beside what the backend is to do: whose it is, what it needs, what it may cost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spillway_types::{ModelId, Usd};

use crate::Label;

/// One thing that a request needs and that not every backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// A conversation is rendered.
    Chat,
    /// A prompt is continued as it stands, without a conversation around it.
    Completion,
    /// The prompt is given as tokens.
    TokenPrompt,
    /// Functions may be called, or were called before.
    Tools,
    /// Messages hold pictures.
    Images,
    /// The answer is JSON.
    JsonObject,
    /// The answer follows a JSON schema.
    JsonSchema,
    /// Tokens are told with their log-probabilities.
    Logprobs,
    /// The prompt's tokens are told with theirs, or the prompt is echoed.
    PromptLogprobs,
    /// The same seed gives the same answer.
    Seed,
    /// Presence and frequency penalties.
    Penalties,
    /// What only an engine with vLLM's fields knows: everything else that changes which tokens come (biases, bad words,
    /// min-p, token ids and the like), and whose cached prefixes are whose.
    TokenRules,
    /// Several answers to one prompt.
    SeveralChoices,
    /// The model is told how long to think.
    ReasoningEffort,
    /// The prompt ends in an open or closed last message instead of an assistant's turn.
    ContinuedMessage,
}

impl Feature {
    /// The field by which clients ask for it, for messages.
    pub fn param(self) -> &'static str {
        match self {
            Self::Chat | Self::Images => "messages",
            Self::Completion | Self::TokenPrompt => "prompt",
            Self::Tools => "tools",
            Self::JsonObject | Self::JsonSchema => "response_format",
            Self::Logprobs => "logprobs",
            Self::PromptLogprobs => "prompt_logprobs",
            Self::Seed => "seed",
            Self::Penalties => "frequency_penalty",
            Self::TokenRules => "logit_bias",
            Self::SeveralChoices => "n",
            Self::ReasoningEffort => "reasoning_effort",
            Self::ContinuedMessage => "continue_final_message",
        }
    }

    /// What it is, in words that end "has no ...".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat template",
            Self::Completion => "plain completions",
            Self::TokenPrompt => "prompts of token ids",
            Self::Tools => "tools",
            Self::Images => "images",
            Self::JsonObject => "JSON mode",
            Self::JsonSchema => "JSON schemas",
            Self::Logprobs => "log-probabilities",
            Self::PromptLogprobs => "prompt log-probabilities",
            Self::Seed => "seeds",
            Self::Penalties => "penalties",
            Self::TokenRules => "rules for tokens",
            Self::SeveralChoices => "several choices",
            Self::ReasoningEffort => "reasoning effort",
            Self::ContinuedMessage => "continued messages",
        }
    }
}

/// What a request needs of whoever serves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Everything that not every backend has.
    pub features: BTreeSet<Feature>,
    /// Tokens of the prompt: counted by the local tokenizer where there is one, else estimated from its bytes.
    pub prompt_tokens: u32,
    /// Most tokens to generate, all choices together; what the backend takes by default if absent.
    pub max_tokens: Option<u32>,
}

/// What is routed, beside the work itself. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRequest {
    /// Its name in logs and in the ledger.
    pub name: Arc<str>,
    /// The name by which the client asks for a model: of a route, or an alias.
    pub model: ModelId,
    /// Name of the client's key, if keys have names.
    pub key: Option<Arc<str>>,
    /// Whether it may leave, and who says so.
    pub label: Label,
    /// What it needs.
    pub needs: Needs,
    /// The text that scores are taken of: what the user says last. Never logged.
    pub text: Arc<str>,
    /// The most that it may cost.
    pub max_cost: Option<Usd>,
    /// The goal for the time to its first token; the route's if absent.
    pub slo_ttft: Option<Duration>,
    /// What it belongs to, so that it stays where its prefix is warm, and in its variant.
    pub session: Option<Arc<str>>,
    /// Words by which routes know its domain.
    pub tags: Vec<Arc<str>>,
    /// Whether the answer is streamed.
    pub is_stream: bool,
}

//! What a backend says of itself when a request is routed: plain data, a moment old.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spillway_types::{ModelId, TokenPrices};

use crate::{Boundary, Feature};

/// State of one backend at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendSnapshot {
    /// How busy it is.
    pub load: BackendLoad,
    /// Whether it works.
    pub health: BackendHealth,
    /// What it can do. Shared, since it hardly ever changes.
    pub capabilities: Arc<Capabilities>,
}

/// How busy a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BackendLoad {
    /// Sequences that take part in forward passes.
    pub num_running: u32,
    /// Sequences that wait for room.
    pub num_waiting: u32,
    /// Fraction of the KV cache in use, 0 to 1; absent for a backend that does not tell.
    pub kv_cache_usage: Option<f64>,
    /// What its engine knows of itself; absent for a backend of another process.
    pub engine: Option<EngineState>,
}

/// What a forecast is made of: the state of an engine in this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineState {
    /// Prompt tokens that wait to be computed, less what the prefix cache is likely to save.
    pub queued_prompt_tokens: u64,
    /// Prompt tokens computed per second; unknown before any had to wait.
    pub prefill_tokens_per_second: Option<f64>,
    /// Tokens generated per second of computing, all sequences together; unknown before there was one.
    pub decode_tokens_per_second: Option<f64>,
    /// Requests that ended, per second, over the last minute or so.
    pub requests_per_second: f64,
    /// Share of looked-up prompt tokens that were in the prefix cache, 0 to 1.
    pub prefix_hit_rate: f64,
    /// Tokens that a block of the KV cache holds.
    pub block_tokens: u32,
    /// Blocks of the KV cache.
    pub num_blocks: u32,
    /// Blocks that no sequence holds.
    pub num_free_blocks: u32,
    /// Most sequences that run at once.
    pub max_num_seqs: u32,
}

/// Whether a backend works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendHealth {
    /// It serves.
    Ready,
    /// Its current step takes longer than it should. Requests still queue, since the step may end.
    Overdue {
        /// For how long it has run.
        since: Duration,
    },
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It cannot be reached or does not answer, and may come back.
    Unreachable {
        /// Why, in words for the operator.
        reason: Arc<str>,
    },
    /// It will serve nothing any more.
    Stopped {
        /// Why, in words for the operator.
        reason: Arc<str>,
    },
}

/// What a backend can do, and under which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The model that answers, in the backend's own words.
    pub model: ModelId,
    /// On which side of the boundary it computes.
    pub boundary: Boundary,
    /// Everything it can do beside answering.
    pub features: BTreeSet<Feature>,
    /// Most tokens of prompt and answer together, if that is known.
    pub context_tokens: Option<u32>,
    /// Most tokens of an answer, if that is known.
    pub max_output_tokens: Option<u32>,
    /// Most tokens of an answer to a request that does not say, if it has such a limit.
    pub default_max_tokens: Option<u32>,
    /// What its tokens cost; free ones cost nothing.
    pub prices: TokenPrices,
    /// Where it computes, if an operator may care.
    pub residency: Option<Residency>,
    /// Tokens a minute that the provider lets through, counted as it counts them: prompt and all that may be generated.
    pub tokens_per_minute: Option<u64>,
}

impl Capabilities {
    /// Of a model of the operator's own, that costs nothing and has no known limits.
    pub fn inside(model: ModelId, features: impl IntoIterator<Item = Feature>) -> Self {
        Self {
            model,
            boundary: Boundary::Inside,
            features: features.into_iter().collect(),
            context_tokens: None,
            max_output_tokens: None,
            default_max_tokens: None,
            prices: TokenPrices::default(),
            residency: None,
            tokens_per_minute: None,
        }
    }
}

/// Where a provider computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    /// The region that is asked.
    pub region: Arc<str>,
    /// The prefix of a cross-region inference profile, as `eu` or `global`; absent where only `region` computes.
    pub profile_prefix: Option<Arc<str>>,
}

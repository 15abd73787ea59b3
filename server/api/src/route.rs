//! `POST /admin/route/explain`: a decision of the router, with everything that was weighed.

use serde::{Deserialize, Serialize};

/// What would be decided about a request now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteExplanation {
    /// The route that answers to the model's name.
    pub route: Option<String>,
    /// `private` or `standard`.
    pub privacy: String,
    /// Who says so.
    pub privacy_said_by: String,
    /// Why the first of the plan is the first; absent if nobody could serve the request.
    pub reason: Option<String>,
    /// The backends that would be asked, in this order.
    pub plan: Vec<String>,
    /// The part of a split that the request would belong to.
    pub variant: Option<String>,
    /// What the strong model is expected to gain, if that was looked at.
    pub gain: Option<f32>,
    /// From which gain on the strong model is asked.
    pub gain_threshold: Option<f32>,
    /// The goal for the time to the first token, in milliseconds.
    pub slo_ttft_ms: Option<u64>,
    /// What the request needs.
    pub needs: ExplainedNeeds,
    /// Every target of the route, in the route's order.
    pub candidates: Vec<ExplainedCandidate>,
}

/// What a request needs of whoever serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedNeeds {
    /// What not every backend can do.
    pub features: Vec<String>,
    /// Tokens of the prompt, estimated.
    pub prompt_tokens: u32,
    /// Most tokens to generate, all choices together.
    pub max_tokens: Option<u32>,
}

/// One target, and what was found about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainedCandidate {
    /// The backend.
    pub backend: String,
    /// Its model, in its own words, if it was looked at so far.
    pub model: Option<String>,
    /// Why it may not serve, the gravest reason first; empty if it may.
    pub excluded: Vec<ExplainedExclusion>,
    /// How well it would serve, if it may.
    pub score: Option<ExplainedScore>,
}

/// A reason against a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedExclusion {
    /// For programs.
    pub code: String,
    /// For people; reads on after the backend's name.
    pub message: String,
}

/// How well a target would serve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExplainedScore {
    /// Milliseconds to the first token, as forecast or measured.
    pub ttft_ms: Option<f64>,
    /// Whether its KV cache has no room for the prompt now.
    pub needs_preemption: bool,
    /// The most that the request can cost there, in dollars.
    pub cost_usd: f64,
    /// Whether prompt and answer look longer than what it holds.
    pub looks_too_long: bool,
}

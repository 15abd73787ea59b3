//! What an operator wants: routes, and the rules that hold for all of them. Checked when made, unchanged after.
//!
//! A route answers to one name or several. Its targets are backends in order of preference; the same order is that of its
//! fallbacks. Everything else about a route moves requests among its targets, never beyond them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spillway_types::{ModelId, Usd};

use crate::{BackendId, Privacy};

/// Name of a route. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(Arc<str>);

/// Name of a part of a split. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariantId(Arc<str>);

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// Wraps a configured name.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as written in the config.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
// Two names that must not be mixed up, with the same two methods.
name!(RouteId);
name!(VariantId);

/// How requests of one name, or several, are served.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name.
    pub id: RouteId,
    /// The names by which clients ask for it: at least one, and none of another route. The first stands in answers.
    pub models: Vec<ModelId>,
    /// What a request is that nobody labels.
    pub default_privacy: Privacy,
    /// Who serves, in order of preference: at least one, each once.
    pub targets: Vec<BackendId>,
    /// What moves a request from the first target to a later one.
    pub preference: Preference,
    /// The goal for the time to the first token, beyond which requests overflow.
    pub slo_ttft: Option<Duration>,
    /// Where requests overflow to: targets, in this order. Empty: nothing overflows.
    pub overflow: Vec<BackendId>,
    /// Where hard prompts go.
    pub hard: Option<HardPrompts>,
    /// Where requests of a domain go, by their tag.
    pub tags: Vec<(Arc<str>, BackendId)>,
    /// Parts of a split; empty, or at least one with a weight.
    pub split: Vec<SplitPart>,
    /// Who gets a copy.
    pub shadow: Option<Shadow>,
    /// The most that one request may cost.
    pub max_cost: Option<Usd>,
}

impl Route {
    /// A route of one name to one backend inside, and nothing else.
    pub fn to(id: RouteId, model: ModelId, backend: BackendId) -> Self {
        Self {
            id,
            models: vec![model],
            default_privacy: Privacy::Private,
            targets: vec![backend],
            preference: Preference::Order,
            slo_ttft: None,
            overflow: Vec::new(),
            hard: None,
            tags: Vec::new(),
            split: Vec::new(),
            shadow: None,
            max_cost: None,
        }
    }
}

/// In which order targets are tried that nothing else tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// As listed.
    #[default]
    Order,
    /// The cheapest first, by what the request would cost there.
    Cost,
    /// The one with the shortest forecast time to the first token.
    Latency,
}

/// Where hard prompts go.
#[derive(Debug, Clone, PartialEq)]
pub struct HardPrompts {
    /// The strong model: a target of the route.
    pub strong: BackendId,
    /// The share of requests that the score may send there, 0 to 1; calibrated on what the score's training saw.
    pub share: f64,
    /// The second signal: how sure the local model is of its first tokens.
    pub confidence: Option<Confidence>,
}

/// When the local model's own first tokens send a request to the strong model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// Tokens that are held back and judged, at least 1.
    pub hold_tokens: u32,
    /// A mean log-probability of these below this is unsure.
    pub min_mean_logprob: f32,
    /// An entropy of the first token's distribution above this, in nats, is unsure. Absent: not looked at.
    pub max_entropy: Option<f32>,
    /// A margin between the two likeliest first tokens below this, in log-probability, is unsure. Absent: not looked at.
    pub min_margin: Option<f32>,
}

/// A part of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitPart {
    /// Its name in metrics and in the ledger.
    pub variant: VariantId,
    /// Who serves it: a target of the route.
    pub backend: BackendId,
    /// Its weight among the parts; 0 gets nothing.
    pub weight: u32,
}

/// Who gets a copy of requests, for comparison: its answers go nowhere. Never of private traffic to the outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Who gets it: any backend, also one that is no target.
    pub backend: BackendId,
    /// Share of requests that are copied, 0 to 1.
    pub share: f64,
}

/// What holds for all routes.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterSettings {
    /// Where providers may compute.
    pub residency: ResidencyRules,
    /// How often and for how long a request is tried.
    pub attempts: AttemptSettings,
    /// When a backend is left alone.
    pub breaker: BreakerSettings,
    /// When requests overflow.
    pub overflow: OverflowSettings,
    /// For how long a session stays where it was served; nothing sticks if zero.
    pub sticky_ttl: Duration,
    /// Sessions that are remembered at most; the longest unused one is forgotten.
    pub max_sessions: usize,
}

/// Where providers may compute. What a backend does not tell is not asked: only providers with regions have them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResidencyRules {
    /// Regions that may be asked; any, if absent.
    pub regions: Option<BTreeSet<Arc<str>>>,
    /// Prefixes of cross-region inference profiles, as `eu`, that may be used; any, if absent. A model without a
    /// profile is judged by its region alone.
    pub profile_prefixes: Option<BTreeSet<Arc<str>>>,
}

/// How often and for how long a request is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptSettings {
    /// Attempts at all backends together, the first included.
    pub max_attempts: u32,
    /// Time from the first attempt after which no other begins.
    pub max_time: Duration,
    /// The longest wait before the first retry; it doubles with each. Waits are drawn evenly from zero to there.
    pub base_delay: Duration,
    /// The longest wait before any retry; a server that asks for a longer one is not asked again.
    pub max_delay: Duration,
    /// Time without a first token after which a second backend is asked, too; the first to answer serves. Absent: never.
    pub hedge_after: Option<Duration>,
}

/// When a backend is left alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Time over which calls are counted.
    pub window: Duration,
    /// Calls in it below which nothing is concluded.
    pub min_calls: u32,
    /// Share of failures among them, 0 to 1, that opens the breaker.
    pub max_failure_ratio: f64,
    /// Time for which it stays open before a probe.
    pub open_for: Duration,
    /// Probes that must go through, one at a time, before it closes.
    pub num_probes: u32,
}

/// When requests overflow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverflowSettings {
    /// Share of the goal that the forecast reaches when overflowing begins.
    pub enter: f64,
    /// Share of the goal below which it ends; at most `enter`.
    pub leave: f64,
    /// The most that may be spent on overflow a minute; any amount, if absent.
    pub max_spend_per_minute: Option<Usd>,
    /// What is thought of a remote backend's time to its first token before one was measured.
    pub initial_remote_ttft: Duration,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            residency: ResidencyRules::default(),
            attempts: AttemptSettings {
                max_attempts: 4,
                max_time: Duration::from_mins(1),
                base_delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(5),
                hedge_after: None,
            },
            breaker: BreakerSettings {
                window: Duration::from_mins(1),
                min_calls: 10,
                max_failure_ratio: 0.5,
                open_for: Duration::from_secs(10),
                num_probes: 2,
            },
            overflow: OverflowSettings {
                enter: 0.9,
                leave: 0.7,
                max_spend_per_minute: None,
                initial_remote_ttft: Duration::from_secs(1),
            },
            sticky_ttl: Duration::from_mins(10),
            max_sessions: 100_000,
        }
    }
}

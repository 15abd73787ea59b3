//! Who may serve a request at all, asked before any score and again before every attempt.
//!
//! # Invariants
//!
//! - [`exclusions`] is the only judge: nothing is called that it excludes. Privacy comes first, so that it is the first
//!   reason told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spillway_types::Usd;

use crate::{
    BackendHealth, BackendId, BackendSnapshot, Capabilities, Feature, Label, ResidencyRules, RouteRequest,
};

/// A backend that cannot serve the request now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The backend's name.
    pub id: BackendId,
    /// Why it was left out: at least one reason, the gravest first.
    pub exclusions: Vec<Exclusion>,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exclusions.first() {
            Some(exclusion) => write!(f, "`{}` {exclusion}", self.id),
            None => write!(f, "`{}`", self.id),
        }
    }
}

/// Why a backend was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// It is outside, and the request is private.
    Private {
        /// Who says that it is.
        label: Label,
    },
    /// It computes in a region that is not allowed.
    Region {
        /// The region.
        region: Arc<str>,
    },
    /// Its inference profile may compute where it is not allowed.
    ProfilePrefix {
        /// The profile's prefix.
        prefix: Arc<str>,
    },
    /// It cannot do all that is asked.
    Lacks(BTreeSet<Feature>),
    /// The answer may be longer than any of its answers.
    AnswerTooLong {
        /// Most tokens to generate.
        max_tokens: u32,
        /// Most tokens that it generates.
        max_output_tokens: u32,
    },
    /// It may cost more than it may.
    TooExpensive {
        /// The most that it would cost there.
        cost: Usd,
        /// The most that it may.
        limit: Usd,
    },
    /// It serves nothing any more.
    Stopped {
        /// Why it stopped.
        reason: Arc<str>,
    },
    /// It takes nothing new.
    Draining,
    /// It does not answer.
    Unreachable {
        /// Why.
        reason: Arc<str>,
    },
    /// It failed too often, or asked for a pause.
    CoolingDown {
        /// For how much longer.
        left: Duration,
    },
}

impl Exclusion {
    /// The word in metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Private { .. } => "private",
            Self::Region { .. } => "region",
            Self::ProfilePrefix { .. } => "profile_prefix",
            Self::Lacks(_) => "capability",
            Self::AnswerTooLong { .. } => "answer_too_long",
            Self::TooExpensive { .. } => "too_expensive",
            Self::Stopped { .. } => "stopped",
            Self::Draining => "draining",
            Self::Unreachable { .. } => "unreachable",
            Self::CoolingDown { .. } => "cooling_down",
        }
    }
}

/// Reads on after the backend's name.
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private { label } => {
                write!(f, "is outside, and the request is private ({} says so)", label.source)
            }
            Self::Region { region } => write!(f, "computes in region {region}, which is not allowed"),
            Self::ProfilePrefix { prefix } => {
                write!(f, "uses inference profiles of `{prefix}.`, which are not allowed")
            }
            Self::Lacks(features) => {
                let words: Vec<&str> = features.iter().map(|feature| feature.as_str()).collect();
                write!(f, "has no {}", words.join(", no "))
            }
            Self::AnswerTooLong { max_tokens, max_output_tokens } => {
                write!(f, "answers with at most {max_output_tokens} tokens, {max_tokens} are asked for")
            }
            Self::TooExpensive { cost, limit } => {
                write!(f, "could cost {cost} dollars, and the request may cost {limit}")
            }
            Self::Stopped { reason } => write!(f, "has stopped ({reason})"),
            Self::Draining => f.write_str("is shutting down"),
            Self::Unreachable { reason } => write!(f, "cannot be reached ({reason})"),
            Self::CoolingDown { left } => {
                write!(f, "failed and is left alone for {:.1} s more", left.as_secs_f64())
            }
        }
    }
}

/// The most that the request can cost at a backend of these capabilities.
pub(crate) fn reservation(request: &RouteRequest, capabilities: &Capabilities) -> Usd {
    if capabilities.prices.is_free() {
        return Usd::ZERO;
    }
    let max_tokens = output_tokens(request, capabilities);
    capabilities.prices.reservation(request.needs.prompt_tokens, max_tokens)
}

/// Most tokens that the backend would generate: what is asked for, or what it generates unasked, or all that fits.
fn output_tokens(request: &RouteRequest, capabilities: &Capabilities) -> u32 {
    let unasked = [capabilities.default_max_tokens, capabilities.max_output_tokens];
    let fits = || capabilities.context_tokens.map(|all| all.saturating_sub(request.needs.prompt_tokens));
    let unasked = unasked.into_iter().flatten().next();
    request.needs.max_tokens.or(unasked).or_else(fits).unwrap_or(u32::MAX)
}

/// Everything that keeps a backend from serving the request now, the gravest first. Empty: it may.
pub(crate) fn exclusions(
    request: &RouteRequest,
    snapshot: &BackendSnapshot,
    cooling_down: Option<Duration>,
    max_cost: Option<Usd>,
    residency: &ResidencyRules,
) -> Vec<Exclusion> {
    let capabilities = &snapshot.capabilities;
    let mut found = Vec::new();
    if !capabilities.boundary.admits(request.label.privacy) {
        found.push(Exclusion::Private { label: request.label.clone() });
    }
    found.extend(of_residency(capabilities, residency));
    found.extend(of_capability(request, capabilities));
    let limit = request.max_cost.into_iter().chain(max_cost).min();
    let cost = reservation(request, capabilities);
    if let Some(limit) = limit.filter(|limit| cost > *limit) {
        found.push(Exclusion::TooExpensive { cost, limit });
    }
    match &snapshot.health {
        BackendHealth::Ready | BackendHealth::Overdue { .. } => {}
        BackendHealth::Draining => found.push(Exclusion::Draining),
        BackendHealth::Unreachable { reason } => {
            found.push(Exclusion::Unreachable { reason: Arc::clone(reason) });
        }
        BackendHealth::Stopped { reason } => found.push(Exclusion::Stopped { reason: Arc::clone(reason) }),
    }
    found.extend(cooling_down.map(|left| Exclusion::CoolingDown { left }));
    found
}

fn of_residency(capabilities: &Capabilities, rules: &ResidencyRules) -> Vec<Exclusion> {
    let Some(residency) = &capabilities.residency else { return Vec::new() };
    let mut found = Vec::new();
    if rules.regions.as_ref().is_some_and(|allowed| !allowed.contains(&residency.region)) {
        found.push(Exclusion::Region { region: Arc::clone(&residency.region) });
    }
    if let Some(prefix) = &residency.profile_prefix
        && rules.profile_prefixes.as_ref().is_some_and(|allowed| !allowed.contains(prefix))
    {
        found.push(Exclusion::ProfilePrefix { prefix: Arc::clone(prefix) });
    }
    found
}

/// Whether the prompt is too long is left to who can count it: the estimate only changes the order.
fn of_capability(request: &RouteRequest, capabilities: &Capabilities) -> Vec<Exclusion> {
    let mut found = Vec::new();
    let missing: BTreeSet<Feature> =
        request.needs.features.difference(&capabilities.features).copied().collect();
    if !missing.is_empty() {
        found.push(Exclusion::Lacks(missing));
    }
    if let (Some(max_tokens), Some(max_output_tokens)) =
        (request.needs.max_tokens, capabilities.max_output_tokens)
        && max_tokens > max_output_tokens
    {
        found.push(Exclusion::AnswerTooLong { max_tokens, max_output_tokens });
    }
    found
}

#[cfg(test)]
mod tests;

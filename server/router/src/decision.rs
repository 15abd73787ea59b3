//! What was decided about a request, with everything that was weighed: a value, so that it can be told, logged and tested.

use std::fmt::Write;
use std::time::Duration;

use spillway_types::{ModelId, Usd};

use crate::{BackendId, Excluded, Exclusion, Label, Privacy, RouteId, VariantId};

/// What was decided about one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its route.
    pub route: RouteId,
    /// Whether it may leave, and who says so.
    pub label: Label,
    /// Every target of the route, in the route's order.
    pub considered: Vec<Considered>,
    /// Who is asked, in this order: at least one, none that is excluded.
    pub plan: Vec<BackendId>,
    /// Why the first of them is the first.
    pub reason: Reason,
    /// Part of a split that the request belongs to.
    pub variant: Option<VariantId>,
    /// The expected gain of the strong model and from where on it is worth it, if they were looked at.
    pub gain: Option<Gain>,
    /// The goal for the time to the first token, if there is one.
    pub slo_ttft: Option<Duration>,
}

/// What the strong model is expected to gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// For this prompt.
    pub expected: f32,
    /// From here on the strong model is asked.
    pub threshold: f32,
}

/// One target, and what was found about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// Who.
    pub id: BackendId,
    /// The model there, in its own words.
    pub model: ModelId,
    /// Whether it may serve, and how well it would.
    pub verdict: Verdict,
}

/// Whether a target may serve, and how well it would.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may not: the gravest reason first.
    Excluded(Vec<Exclusion>),
    /// It may.
    Able(Score),
}

/// How well a target would serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Time to the first token: forecast from an engine's state, or as measured lately; absent if unknown.
    pub ttft: Option<Duration>,
    /// Whether its KV cache has no room for the prompt now.
    pub needs_preemption: bool,
    /// The most that the request can cost there.
    pub cost: Usd,
    /// Whether prompt and answer together look longer than what it holds: such a target is asked last.
    pub looks_too_long: bool,
}

/// Why a target was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody else could serve the request.
    OnlyCandidate,
    /// It is the first of the route's targets that can.
    Preferred,
    /// It costs least.
    Cheapest,
    /// Its first token is expected soonest.
    Fastest,
    /// The request has its tag.
    Tag,
    /// The request belongs to its part of a split.
    Split,
    /// The strong model is expected to do better by enough.
    HardPrompt,
    /// The queue here would miss the goal.
    Overflow,
    /// The goal passed without a first token.
    LateOverflow,
    /// The local model was unsure of its first tokens.
    Unsure,
    /// Another one failed.
    Fallback,
    /// Another one was slow, and this one was quicker.
    Hedge,
}

impl Reason {
    /// The word for headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyCandidate => "only-candidate",
            Self::Preferred => "preferred",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Tag => "tag",
            Self::Split => "split",
            Self::HardPrompt => "hard-prompt",
            Self::Overflow => "overflow",
            Self::LateOverflow => "late-overflow",
            Self::Unsure => "unsure",
            Self::Fallback => "fallback",
            Self::Hedge => "hedge",
        }
    }
}

impl Decision {
    /// Those that were left out, with why.
    pub fn excluded(&self) -> impl Iterator<Item = Excluded> {
        self.considered.iter().filter_map(|considered| match &considered.verdict {
            Verdict::Excluded(exclusions) => {
                Some(Excluded { id: considered.id.clone(), exclusions: exclusions.clone() })
            }
            Verdict::Able(_) => None,
        })
    }

    /// What was found about a target that may serve.
    pub fn score(&self, id: &BackendId) -> Option<&Score> {
        self.considered.iter().find(|considered| considered.id == *id).and_then(
            |considered| match &considered.verdict {
                Verdict::Able(score) => Some(score),
                Verdict::Excluded(_) => None,
            },
        )
    }

    /// The header `x-spillway-route` for a request that was served for `reason` at the attempt of this number.
    pub fn header(&self, reason: Reason, attempt: u32) -> String {
        let mut text = format!("{}; route={}", reason.as_str(), self.route);
        // Writing to a string does not fail.
        if self.label.privacy == Privacy::Private {
            let _ = write!(text, "; private={}", self.label.source);
        }
        if let Some(variant) = &self.variant {
            let _ = write!(text, "; variant={variant}");
        }
        if let Some(gain) = self.gain {
            let _ = write!(text, "; gain={:.3}; threshold={:.3}", gain.expected, gain.threshold);
        }
        if attempt > 1 {
            let _ = write!(text, "; attempt={attempt}");
        }
        text.retain(|letter| letter == ' ' || letter.is_ascii_graphic());
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::LabelSource;

    #[test]
    fn the_header_says_why_and_holds_nothing_that_a_header_cannot() {
        let decision = Decision {
            route: RouteId::new("ward"),
            label: Label { privacy: Privacy::Private, source: LabelSource::Key(Arc::from("ward\n7")) },
            considered: Vec::new(),
            plan: Vec::new(),
            reason: Reason::Preferred,
            variant: Some(VariantId::new("b")),
            gain: Some(Gain { expected: 0.25, threshold: 0.3 }),
            slo_ttft: None,
        };
        assert_eq!(
            decision.header(Reason::Fallback, 2),
            "fallback; route=ward; private=key ward7; variant=b; gain=0.250; threshold=0.300; attempt=2"
        );
    }
}

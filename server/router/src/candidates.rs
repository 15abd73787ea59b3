//! Filter and pick: which backends could serve a request, and which of them does.
//!
//! Both are pure functions of snapshots, so that every decision can be explained and tested from data.

use std::fmt;
use std::sync::Arc;

use spillway_types::{ModelId, Prompt};

use crate::{BackendHealth, BackendId, BackendSnapshot, Feature, NoCandidate};

/// A backend that could serve the request.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Position of the backend in the router.
    pub backend_idx: usize,
    /// The backend's name.
    pub id: BackendId,
    /// Its state when it was asked.
    pub snapshot: BackendSnapshot,
}

/// A backend of the model that cannot serve the request now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The backend's name.
    pub id: BackendId,
    /// Why it was left out.
    pub exclusion: Exclusion,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exclusion {
            Exclusion::Stopped { reason } => write!(f, "`{}` has stopped ({reason})", self.id),
            Exclusion::Draining => write!(f, "`{}` is shutting down", self.id),
            Exclusion::NoChat => write!(f, "`{}` has no chat template", self.id),
        }
    }
}

/// Why a backend was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// It serves nothing any more.
    Stopped {
        /// Why it stopped.
        reason: Arc<str>,
    },
    /// It takes nothing new.
    Draining,
    /// The prompt is a conversation, and its model has no chat template.
    NoChat,
}

/// The backends that could serve one request: at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    first: Candidate,
    rest: Vec<Candidate>,
}

impl Candidates {
    /// Keeps the backends that serve `model` and can take `prompt` now, in the order of the router.
    ///
    /// # Errors
    ///
    /// [`NoCandidate`] if none is left, with the reason for each backend of the model.
    pub fn new(
        model: &ModelId,
        prompt: &Prompt,
        backends: impl IntoIterator<Item = Candidate>,
    ) -> Result<Self, NoCandidate> {
        let mut kept = Vec::new();
        let mut excluded = Vec::new();
        for candidate in backends {
            if candidate.snapshot.capabilities.model != *model {
                continue;
            }
            match exclusion(prompt, &candidate.snapshot) {
                Some(exclusion) => excluded.push(Excluded { id: candidate.id, exclusion }),
                None => kept.push(candidate),
            }
        }
        let mut kept = kept.into_iter();
        match kept.next() {
            Some(first) => Ok(Self { first, rest: kept.collect() }),
            None if excluded.is_empty() => Err(NoCandidate::UnknownModel { model: model.clone() }),
            None => Err(NoCandidate::AllExcluded { model: model.clone(), excluded }),
        }
    }

    /// The candidates, in the order of the router.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// Why this backend cannot take this prompt now, if it cannot.
fn exclusion(prompt: &Prompt, snapshot: &BackendSnapshot) -> Option<Exclusion> {
    match (&snapshot.health, prompt) {
        (BackendHealth::Stopped { reason } | BackendHealth::Unreachable { reason }, _) => {
            Some(Exclusion::Stopped { reason: Arc::clone(reason) })
        }
        (BackendHealth::Draining, _) => Some(Exclusion::Draining),
        (_, Prompt::Chat(_)) if !snapshot.capabilities.features.contains(&Feature::Chat) => {
            Some(Exclusion::NoChat)
        }
        (BackendHealth::Ready | BackendHealth::Overdue { .. }, _) => None,
    }
}

/// Who serves the request, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision<'a> {
    /// The one that was picked.
    pub chosen: &'a Candidate,
    /// Why it and no other.
    pub reason: Reason,
}

/// Why a candidate was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody else could serve the request.
    OnlyCandidate,
    /// It has the fewest waiting sequences; of equals, the fewest running ones; of equals, it is the first.
    LeastLoaded,
}

impl Reason {
    /// The word for headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyCandidate => "only-candidate",
            Self::LeastLoaded => "least-loaded",
        }
    }
}

/// Picks the least loaded candidate.
pub fn pick(candidates: &Candidates) -> Decision<'_> {
    let load = |candidate: &Candidate| {
        let load = candidate.snapshot.load;
        (load.num_waiting, load.num_running)
    };
    let mut chosen = &candidates.first;
    for candidate in &candidates.rest {
        if load(candidate) < load(chosen) {
            chosen = candidate;
        }
    }
    let reason = if candidates.rest.is_empty() { Reason::OnlyCandidate } else { Reason::LeastLoaded };
    Decision { chosen, reason }
}

#[cfg(test)]
mod tests;

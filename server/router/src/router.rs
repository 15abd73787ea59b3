//! Owns the backends and hands each request to the one that is picked for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use spillway_types::{GenerateRequest, ModelId, Prompt};

use crate::{
    Backend, BackendId, BackendSnapshot, Candidate, Candidates, NoCandidate, Reason, RouteError,
    RouterConfigError, TokenStream, pick,
};

/// All backends of this process: at least one, each with its own name.
pub struct Router {
    backends: Vec<Arc<dyn Backend>>,
}

/// A request under way.
pub struct Routed {
    /// Who serves it.
    pub backend: BackendId,
    /// Why that one.
    pub reason: Reason,
    /// The answer. Dropping it aborts the request.
    pub stream: TokenStream,
}

impl Router {
    /// Takes over the backends, in order of preference between equals.
    ///
    /// # Errors
    ///
    /// [`RouterConfigError`] if there is none, or if two have the same name.
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Result<Self, RouterConfigError> {
        if backends.is_empty() {
            return Err(RouterConfigError::NoBackend);
        }
        let mut seen = BTreeSet::new();
        for backend in &backends {
            if !seen.insert(backend.id()) {
                return Err(RouterConfigError::DuplicateId { id: backend.id().clone() });
            }
        }
        Ok(Self { backends })
    }

    /// Every backend's name and state at this moment.
    pub fn snapshots(&self) -> impl Iterator<Item = (&BackendId, BackendSnapshot)> {
        self.backends.iter().map(|backend| (backend.id(), backend.snapshot()))
    }

    /// The backends that could serve `prompt` with `model` now.
    ///
    /// # Errors
    ///
    /// [`NoCandidate`] if there is none.
    pub fn candidates(&self, model: &ModelId, prompt: &Prompt) -> Result<Candidates, NoCandidate> {
        let all = self.backends.iter().enumerate().map(|(backend_idx, backend)| Candidate {
            backend_idx,
            id: backend.id().clone(),
            snapshot: backend.snapshot(),
        });
        Candidates::new(model, prompt, all)
    }

    /// Picks a backend and starts the request there.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if nobody can serve the request, or the picked backend does not admit it.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Routed, RouteError> {
        let candidates = self.candidates(&request.model, &request.prompt)?;
        let decision = pick(&candidates);
        let backend = &self.backends[decision.chosen.backend_idx];
        let stream = backend.generate(request).await?;
        Ok(Routed { backend: backend.id().clone(), reason: decision.reason, stream })
    }
}

#[cfg(test)]
mod tests;

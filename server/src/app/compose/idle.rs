//! A local model that nobody runs, for dry runs: it can do what an engine can, and has nothing to do.

use std::sync::Arc;

use spillway_backends::LocalBackend;
use spillway_router::{
    Backend, BackendError, BackendHealth, BackendId, BackendLoad, BackendSnapshot, BoxFuture, Capabilities,
    EngineState, TokenStream,
};
use spillway_types::{GenerateRequest, ModelId};

/// What stands for the engine.
pub(super) struct IdleBackend {
    id: BackendId,
    capabilities: Arc<Capabilities>,
}

impl IdleBackend {
    /// Of a model with a chat template and any context.
    pub(super) fn new(id: BackendId, model: ModelId) -> Self {
        let features = LocalBackend::features(true);
        Self { id, capabilities: Arc::new(Capabilities::inside(model, features)) }
    }
}

impl Backend for IdleBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        // Room without end, and no rates, since none was measured.
        let engine = EngineState {
            queued_prompt_tokens: 0,
            prefill_tokens_per_second: None,
            decode_tokens_per_second: None,
            requests_per_second: 0.0,
            prefix_hit_rate: 0.0,
            block_tokens: 1,
            num_blocks: u32::MAX,
            num_free_blocks: u32::MAX,
            max_num_seqs: u32::MAX,
        };
        BackendSnapshot {
            load: BackendLoad { engine: Some(engine), ..BackendLoad::default() },
            health: BackendHealth::Ready,
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, _: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        let source = "it only stands for a model".into();
        let error = BackendError::Failed { backend: self.id.clone(), tokens_sent: 0, source };
        Box::pin(async { Err(error) })
    }
}

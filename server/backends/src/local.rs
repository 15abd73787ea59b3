//! The engine of this process as a backend.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use spillway_engine::{EngineError, EngineHandle, EngineHealth, EngineLoad, EventStream};
use spillway_router::{
    Backend, BackendError, BackendHealth, BackendId, BackendLoad, BackendSnapshot, BoxFuture, Capabilities,
    EngineState, Feature, TokenStream,
};
use spillway_types::{GenerateEvent, GenerateRequest, ModelId, Prompt, TokenId};

/// Longest time after which a client is told to try again.
const MAX_RETRY_SECS: u64 = 60;

/// What every engine can do; conversations need a chat template.
const FEATURES: [Feature; 8] = [
    Feature::Completion,
    Feature::TokenPrompt,
    Feature::Logprobs,
    Feature::PromptLogprobs,
    Feature::Seed,
    Feature::Penalties,
    Feature::TokenRules,
    Feature::SeveralChoices,
];

/// One engine, serving one model under one name.
#[derive(Clone)]
pub struct LocalBackend {
    id: BackendId,
    engine: EngineHandle,
    capabilities: Arc<Capabilities>,
}

impl LocalBackend {
    /// Names an engine.
    pub fn new(id: BackendId, engine: EngineHandle) -> Self {
        let features = Self::features(engine.has_chat_template());
        let capabilities = Arc::new(Capabilities {
            context_tokens: Some(engine.card().max_model_len),
            ..Capabilities::inside(engine.card().id.clone(), features)
        });
        Self { id, engine, capabilities }
    }

    /// What every engine can do, and with a chat template.
    pub fn features(has_chat_template: bool) -> BTreeSet<Feature> {
        let mut features = BTreeSet::from(FEATURES);
        if has_chat_template {
            features.extend([Feature::Chat, Feature::ContinuedMessage]);
        }
        features
    }

    /// The tokens of a prompt, as generating from it would compute them. Blocks while it computes.
    ///
    /// # Errors
    ///
    /// [`BackendError::InvalidRequest`] if the prompt has none.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, BackendError> {
        self.engine.tokenize(prompt).map_err(|error| self.refusal(error))
    }

    /// The text of tokens, special tokens included. Blocks while it computes.
    ///
    /// # Errors
    ///
    /// [`BackendError::InvalidRequest`] if an id is not in the vocabulary.
    pub fn detokenize(&self, tokens: &[TokenId]) -> Result<String, BackendError> {
        self.engine.detokenize(tokens).map_err(|error| self.refusal(error))
    }

    /// What an error means before anything was sent.
    fn refusal(&self, error: EngineError) -> BackendError {
        backend_error(&self.id, &self.capabilities.model, error, 0)
    }
}

impl Backend for LocalBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        let load = self.engine.load();
        BackendSnapshot {
            load: BackendLoad {
                num_running: load.num_running,
                num_waiting: load.num_waiting,
                kv_cache_usage: Some(load.kv_cache_usage()),
                engine: Some(state(&load, &self.engine)),
            },
            health: health(self.engine.health()),
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        Box::pin(async move {
            let events = self.engine.generate(request).await.map_err(|error| self.refusal(error))?;
            let stream = LocalStream {
                events,
                backend: self.id.clone(),
                model: self.capabilities.model.clone(),
                tokens_sent: 0,
            };
            let stream: TokenStream = Box::pin(stream);
            Ok(stream)
        })
    }
}

/// An engine's events, with its errors in the router's terms.
struct LocalStream {
    events: EventStream,
    backend: BackendId,
    model: ModelId,
    tokens_sent: u32,
}

impl Stream for LocalStream {
    type Item = Result<GenerateEvent, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(Pin::new(&mut self.events).poll_next(ctx));
        if let Some(Ok(GenerateEvent::Delta(delta))) = &event {
            self.tokens_sent += delta.tokens.len() as u32;
        }
        let read = event.map(|event| {
            event.map_err(|error| backend_error(&self.backend, &self.model, error, self.tokens_sent))
        });
        Poll::Ready(read)
    }
}

/// What a forecast is made of.
fn state(load: &EngineLoad, engine: &EngineHandle) -> EngineState {
    let queries = load.prefix_queries.max(1) as f64;
    EngineState {
        queued_prompt_tokens: load.num_queued_prompt_tokens,
        prefill_tokens_per_second: load.prefill_tokens_per_second,
        decode_tokens_per_second: load.decode_tokens_per_second,
        requests_per_second: load.requests_per_second,
        prefix_hit_rate: (load.prefix_hits as f64 / queries).min(1.0),
        block_tokens: engine.card().block_tokens,
        num_blocks: load.num_blocks,
        num_free_blocks: load.num_free_blocks,
        max_num_seqs: engine.card().max_num_seqs,
    }
}

fn health(health: EngineHealth) -> BackendHealth {
    match health {
        EngineHealth::Ready => BackendHealth::Ready,
        EngineHealth::Overdue { since } => BackendHealth::Overdue { since },
        EngineHealth::Draining => BackendHealth::Draining,
        EngineHealth::DeviceBroken => BackendHealth::Stopped { reason: Arc::from("its device broke") },
        EngineHealth::Stopped => BackendHealth::Stopped { reason: Arc::from("its engine thread has ended") },
    }
}

/// What the caller can do about an engine's error.
fn backend_error(backend: &BackendId, model: &ModelId, error: EngineError, tokens_sent: u32) -> BackendError {
    let invalid = |param| BackendError::InvalidRequest { param, message: error.to_string() };
    match error {
        EngineError::PromptTooLong { prompt_tokens, max_model_len } => BackendError::PromptTooLong {
            model: model.clone(),
            prompt_tokens,
            // At least one token is generated.
            max_tokens: max_model_len.saturating_sub(1),
        },
        EngineError::OutputTooLong { .. } => invalid(Some("max_tokens")),
        // It may be one of several prompts, or tokens to turn into text.
        EngineError::PromptEmpty | EngineError::CacheTooSmall { .. } | EngineError::UnknownToken { .. } => {
            invalid(None)
        }
        EngineError::NoTokenLeft { .. } => invalid(None),
        EngineError::InvalidParameter { param, .. } => invalid(Some(param)),
        EngineError::NoChatTemplate | EngineError::Template { .. } => invalid(Some("messages")),
        EngineError::QueueFull { max_waiting, retry_after, .. } => {
            BackendError::QueueFull { backend: backend.clone(), max_waiting, retry_after }
        }
        EngineError::QueueTooLong { wait, max_wait, .. } => {
            // Whole seconds, since that is what a client can be told.
            let secs = wait.saturating_sub(max_wait).as_secs().saturating_add(1).min(MAX_RETRY_SECS);
            let (backend, retry_after) = (backend.clone(), Duration::from_secs(secs));
            BackendError::QueueTooLong { backend, wait, max_wait, retry_after }
        }
        EngineError::ShuttingDown => BackendError::ShuttingDown { backend: backend.clone() },
        EngineError::Tokenizer { .. }
        | EngineError::DuplicateRequest { .. }
        | EngineError::StepFailed { .. }
        | EngineError::Stopped => {
            BackendError::Failed { backend: backend.clone(), tokens_sent, source: Box::new(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use spillway_router::FallBack;

    use super::*;

    fn converted(error: EngineError, tokens_sent: u32) -> BackendError {
        backend_error(&BackendId::new("local"), &ModelId::new("tiny"), error, tokens_sent)
    }

    #[test]
    fn what_the_client_must_change_is_never_retried() {
        for (error, param) in [
            (EngineError::PromptEmpty, None),
            (EngineError::UnknownToken { token: 9, vocab_size: 8 }, None),
            (EngineError::NoChatTemplate, Some("messages")),
            (
                EngineError::OutputTooLong { prompt_tokens: 5, max_tokens: 9, max_model_len: 8 },
                Some("max_tokens"),
            ),
        ] {
            let message = error.to_string();
            let converted = converted(error, 0);
            assert_eq!(converted.treatment().fall_back, FallBack::Never);
            assert!(
                matches!(&converted, BackendError::InvalidRequest { param: p, message: m } if *p == param && *m == message),
                "{converted:?}"
            );
        }
    }

    #[test]
    fn a_prompt_that_fills_the_context_is_told_the_most_it_may_have() {
        let error = converted(EngineError::PromptTooLong { prompt_tokens: 9000, max_model_len: 8192 }, 0);
        assert!(error.to_string().contains("9000") && error.to_string().contains("8191"), "{error}");
    }

    #[test]
    fn a_full_queue_keeps_its_limit_and_delay() {
        let retry_after = Duration::from_secs(4);
        let error = converted(EngineError::QueueFull { waiting: 7, max_waiting: 7, retry_after }, 0);
        assert!(
            matches!(error, BackendError::QueueFull { max_waiting: 7, retry_after: after, .. } if after == retry_after)
        );
    }

    #[test]
    fn a_broken_engine_is_left_for_another() {
        assert_eq!(converted(EngineError::Stopped, 0).treatment().fall_back, FallBack::Always);
    }
}

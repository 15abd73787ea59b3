//! The asynchronous side of the engine: what the rest of the server holds.

use std::sync::Arc;
use std::time::Duration;

use spillway_scheduler::{PrefixUse, SubmitError, SubmitRequest};
use spillway_types::{GenerateRequest, ModelId, Prompt, SamplingParams, TokenId, Truncation};
use tokio::sync::{mpsc, oneshot};

use crate::batch::{PromptScoring, SeqSampling};
use crate::clock::Clock;
use crate::error::EngineError;
use crate::load::{EngineHealth, EngineLoad, LoadCells};
use crate::message::{Control, Refusal, Submission};
use crate::prepare::{Prepared, prepare};
use crate::reply::PendingReply;
use crate::stream::{EventStream, StreamParts};
use crate::text::TextPipeline;

/// What is served, for model lists and capability checks.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// The served name.
    pub id: ModelId,
    /// Tokens of prompt and output together.
    pub max_model_len: u32,
    /// Entries of the vocabulary.
    pub vocab_size: u32,
    /// Tokens that a block of the KV cache holds.
    pub block_tokens: u32,
    /// Most sequences that run at once.
    pub max_num_seqs: u32,
    /// Tokens with which the model ends an answer.
    pub end_tokens: Arc<[TokenId]>,
}

/// Sends requests to an engine and reads its load. Cheap to clone; the engine ends when the last one is dropped.
#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) submissions: flume::Sender<Submission>,
    pub(crate) control: flume::Sender<Control>,
    pub(crate) shared: Arc<Shared>,
}

/// What all handles have in common.
pub(crate) struct Shared {
    pub(crate) card: ModelCard,
    pub(crate) text: TextPipeline,
    pub(crate) cells: Arc<LoadCells>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) step_overdue_after: Duration,
    pub(crate) max_waiting: u32,
}

impl EngineHandle {
    /// Serves one request: renders and tokenises its prompt, queues it, and returns its stream of events.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the request cannot be served at all, or not now; nothing of it is kept then.
    pub async fn generate(&self, request: GenerateRequest) -> Result<EventStream, EngineError> {
        if self.shared.cells.is_draining() {
            return Err(EngineError::ShuttingDown);
        }
        let arrived = self.shared.clock.now();
        let (prepared, params) = self.prepare(request.prompt, request.truncation, request.params).await?;
        let prompt_tokens = prepared.prompt.len() as u32;
        self.check_length(prompt_tokens, params.max_tokens.map_or(1, u32::from))?;
        let (update_sender, updates) = mpsc::unbounded_channel();
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            request: SubmitRequest {
                request_id: request.request_id,
                prompt: prepared.prompt,
                n: params.n,
                max_tokens: params.max_tokens,
                end_tokens: prepared.end_tokens,
                priority: request.priority,
                cache_salt: request.cache_salt,
                prefix: if params.prompt_logprobs.is_some() {
                    PrefixUse::ComputeAll
                } else {
                    PrefixUse::Reuse
                },
            },
            sampling: SeqSampling {
                sampling: params.sampling,
                seed: params.seed,
                choice: 0,
                prompt_len: prompt_tokens,
                logprobs: params.logprobs,
                rules: prepared.rules,
                scoring: params.prompt_logprobs.map(|top| PromptScoring::new(prompt_tokens, top)),
            },
            arrived,
            updates: update_sender,
            reply,
        };
        self.submit(submission)?;
        let pending = PendingReply::new(request.request_id, answer, self.control.clone());
        // The engine empties the queue once after it has stopped, and what comes later stays there unread. But it may also
        // have served the request and broken by now: then its word is there.
        let answer = if self.shared.cells.is_stopped() { pending.now() } else { pending.wait().await };
        let answer = answer.ok_or_else(|| self.ended())?;
        let seq_ids = answer.map_err(|error| self.refusal(error))?;
        Ok(EventStream::new(StreamParts {
            request_id: request.request_id,
            updates,
            control: self.control.clone(),
            tokenizer: Arc::clone(self.shared.text.tokenizer()),
            prompt_tokens,
            prompt_text: prepared.prompt_text,
            seq_ids,
            model_end_tokens: Arc::clone(&self.shared.card.end_tokens),
            params,
        }))
    }

    /// The tokens of a prompt, as [`EngineHandle::generate`] would compute them.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the template refuses or an id is not in the vocabulary.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, EngineError> {
        self.shared.text.tokens(prompt)
    }

    /// The text of tokens, special tokens included.
    ///
    /// # Errors
    ///
    /// [`EngineError::UnknownToken`] if an id is not in the vocabulary.
    pub fn detokenize(&self, tokens: &[TokenId]) -> Result<String, EngineError> {
        self.shared.text.text(tokens)
    }

    /// How busy the engine is.
    pub fn load(&self) -> EngineLoad {
        self.shared.cells.load()
    }

    /// Whether the engine can serve.
    pub fn health(&self) -> EngineHealth {
        self.shared.cells.health(self.shared.clock.now(), self.shared.step_overdue_after)
    }

    /// What is served.
    pub fn card(&self) -> &ModelCard {
        &self.shared.card
    }

    /// Whether conversations can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.shared.text.has_chat_template()
    }

    async fn prepare(
        &self,
        prompt: Prompt,
        truncation: Option<Truncation>,
        params: SamplingParams,
    ) -> Result<(Prepared, SamplingParams), EngineError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let prepared = prepare(&shared.text, &shared.card, &prompt, truncation, &params)?;
            Ok((prepared, params))
        })
        .await
        .map_err(|error| EngineError::Tokenizer { message: error.to_string() })?
    }

    fn check_length(&self, prompt_tokens: u32, max_tokens: u32) -> Result<(), EngineError> {
        let max_model_len = self.shared.card.max_model_len;
        if prompt_tokens >= max_model_len {
            return Err(EngineError::PromptTooLong { prompt_tokens, max_model_len });
        }
        if prompt_tokens.saturating_add(max_tokens) > max_model_len {
            return Err(EngineError::OutputTooLong { prompt_tokens, max_tokens, max_model_len });
        }
        Ok(())
    }

    fn submit(&self, submission: Submission) -> Result<(), EngineError> {
        self.submissions.try_send(submission).map_err(|error| match error {
            flume::TrySendError::Full(_) => {
                self.queue_full(self.load().num_waiting.max(self.shared.max_waiting))
            }
            flume::TrySendError::Disconnected(_) => self.ended(),
        })
    }

    fn refusal(&self, refusal: Refusal) -> EngineError {
        let error = match refusal {
            Refusal::Scheduler(error) => error,
            Refusal::QueueTooLong { queued_tokens, wait, max_wait } => {
                return EngineError::QueueTooLong { queued_tokens, wait, max_wait };
            }
        };
        match error {
            SubmitError::QueueFull { waiting, .. } => self.queue_full(waiting),
            SubmitError::PromptEmpty => EngineError::PromptEmpty,
            SubmitError::PromptTooLong { prompt_tokens, .. } => {
                EngineError::PromptTooLong { prompt_tokens, max_model_len: self.shared.card.max_model_len }
            }
            SubmitError::NeverFits { needed_blocks, num_blocks } => {
                EngineError::CacheTooSmall { needed_blocks, num_blocks }
            }
            SubmitError::DuplicateRequest { request_id } => EngineError::DuplicateRequest { request_id },
        }
    }

    fn queue_full(&self, waiting: u32) -> EngineError {
        EngineError::QueueFull {
            waiting,
            max_waiting: self.shared.max_waiting,
            retry_after: self.load().retry_after(),
        }
    }

    fn ended(&self) -> EngineError {
        if self.shared.cells.is_draining() { EngineError::ShuttingDown } else { EngineError::Stopped }
    }
}

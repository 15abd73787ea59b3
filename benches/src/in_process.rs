//! Requests to an engine in this process, without HTTP: what `latency` and `throughput` have in common.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use spillway_engine::EngineHandle;
use spillway_types::{
    GenerateEvent, GenerateRequest, OutputFormat, Priority, Prompt, RequestId, Sampling, SamplingParams,
    Seed, TokenId,
};

use crate::random_words::{PromptShape, RandomWords};
use crate::sample::{Failure, FailureKind, Sample};
use crate::stopwatch::Stopwatch;

/// Sends requests to an engine, each under a number of its own.
#[derive(Clone, Copy)]
pub(crate) struct EngineClient<'a> {
    handle: &'a EngineHandle,
    next_request: &'a AtomicU64,
}

/// What is asked for: greedy tokens, exactly as many as wanted.
#[derive(Debug, Clone)]
pub(crate) struct EngineAsk {
    pub(crate) prompt: Prompt,
    pub(crate) max_tokens: NonZeroU32,
}

impl<'a> EngineClient<'a> {
    pub(crate) fn new(handle: &'a EngineHandle, next_request: &'a AtomicU64) -> Self {
        Self { handle, next_request }
    }

    /// Makes a prompt of exactly so many tokens, of random words; the same for the same seed and index.
    pub(crate) fn random_prompt(self, seed: u64, index: usize, num_tokens: usize) -> anyhow::Result<Prompt> {
        // A word has a token at least; what is too long is cut.
        let shape = PromptShape { shared_words: 0, own_words: num_tokens };
        let text = RandomWords::new(seed, 0, shape).get(index);
        let mut tokens = self.tokens(&Prompt::Text(text))?;
        if tokens.len() < num_tokens {
            bail!("{num_tokens} words are only {} tokens for this model's tokenizer", tokens.len());
        }
        tokens.truncate(num_tokens);
        Ok(Prompt::Tokens(tokens))
    }

    /// The tokens of a prompt.
    pub(crate) fn tokens(self, prompt: &Prompt) -> anyhow::Result<Vec<TokenId>> {
        self.handle.tokenize(prompt).context("the prompt has no tokens")
    }

    /// Whether prompt and answer fit the engine's context.
    pub(crate) fn check_length(self, input_tokens: usize, output_tokens: u32) -> anyhow::Result<()> {
        let max_model_len = self.handle.card().max_model_len;
        if input_tokens as u64 + u64::from(output_tokens) > u64::from(max_model_len) {
            bail!(
                "{input_tokens} input and {output_tokens} output tokens are more than the context of {max_model_len}: \
                 lower them, or raise --max-model-len or --kv-cache-memory"
            );
        }
        Ok(())
    }

    /// Serves one request to its end.
    pub(crate) async fn complete(self, ask: EngineAsk) -> Result<Sample, Failure> {
        let watch = Stopwatch::start();
        let request = GenerateRequest {
            request_id: RequestId(self.next_request.fetch_add(1, Ordering::Relaxed)),
            model: self.handle.card().id.clone(),
            prompt: ask.prompt,
            truncation: None,
            params: SamplingParams {
                max_tokens: Some(ask.max_tokens),
                ignore_eos: true,
                ..SamplingParams::new(Sampling::Greedy, Seed(0))
            },
            format: OutputFormat::Text,
            reasoning_effort: None,
            priority: Priority::Normal,
            cache_salt: None,
        };
        let failed = |error| Failure::new(FailureKind::Engine, format!("{:#}", anyhow::Error::from(error)));
        let mut stream = self.handle.generate(request).await.map_err(failed)?;
        let mut sample = Sample::default();
        let mut last: Option<Duration> = None;
        while let Some(event) = stream.next().await {
            let event = event.map_err(failed)?;
            if let GenerateEvent::Delta(delta) = &event
                && !delta.tokens.is_empty()
            {
                let now = watch.elapsed();
                match last.replace(now) {
                    None => sample.first_token = now,
                    Some(before) => sample.gaps.push(now.saturating_sub(before)),
                }
            } else if let GenerateEvent::Done(usage) = &event {
                sample.prompt_tokens = usage.prompt_tokens.into();
                sample.cached_tokens = usage.cached_tokens.into();
                sample.output_tokens = usage.completion_tokens.into();
                sample.end_to_end = watch.elapsed();
                return Ok(sample);
            }
        }
        Err(Failure::new(FailureKind::BrokenOff, "the engine's stream ended early"))
    }
}

//! A request as tests write it, and the whole of its answer.

use std::num::NonZeroU32;

use futures::StreamExt as _;
use spillway_engine::{EngineError, EventStream};
use spillway_types::{
    AnswerToken, CacheSalt, FinishReason, GenerateEvent, GenerateRequest, ModelId, OutputFormat, Penalties,
    Priority, Prompt, RequestId, Sampling, SamplingParams, Seed, TokenConstraints, TokenDetail, TokenId,
    TopLogprobs, Usage,
};

/// What is asked of an engine.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What to go on from.
    pub prompt: Prompt,
    /// Most tokens of each choice.
    pub max_tokens: u32,
    /// Greedy or random.
    pub sampling: Sampling,
    /// Seed of the request.
    pub seed: u64,
    /// Choices.
    pub n: u32,
    /// Texts that end a choice.
    pub stop: Vec<String>,
    /// Whether to go on after the model's end tokens.
    pub ignore_eos: bool,
    /// Place in the queue.
    pub priority: Priority,
    /// Owner of the prefix-cache entries.
    pub cache_salt: Option<CacheSalt>,
    /// Whether generated tokens are told with their ranking.
    pub logprobs: Option<TopLogprobs>,
    /// Whether the prompt is scored.
    pub prompt_logprobs: Option<TopLogprobs>,
    /// What tokens lose that have come.
    pub penalties: Penalties,
    /// Which tokens may come.
    pub constraints: TokenConstraints,
    /// Fewest tokens of each choice.
    pub min_tokens: u32,
}

/// One choice, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The natural logarithm of each one's probability.
    pub logprobs: Vec<f32>,
    /// How each one stood among the others, where that was asked for.
    pub details: Vec<TokenDetail>,
    /// Its text, in the pieces in which it came.
    pub pieces: Vec<String>,
    /// Why it ended.
    pub reason: FinishReason,
}

/// All that came of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The prompt's tokens from the second on, if they were to be scored.
    pub prompt: Vec<AnswerToken>,
    /// One for each choice.
    pub choices: Vec<Choice>,
    /// The counts of the last event.
    pub usage: Usage,
}

impl Ask {
    /// Exactly `max_tokens` greedy tokens after a prompt of tokens.
    pub fn greedy(prompt: &[u32], max_tokens: u32) -> Self {
        Self::of(Prompt::Tokens(prompt.iter().map(|&id| TokenId(id)).collect()), max_tokens)
    }

    /// Exactly `max_tokens` greedy tokens after any prompt.
    pub fn of(prompt: Prompt, max_tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens,
            sampling: Sampling::Greedy,
            seed: 0,
            n: 1,
            stop: Vec::new(),
            ignore_eos: true,
            priority: Priority::Normal,
            cache_salt: None,
            logprobs: None,
            prompt_logprobs: None,
            penalties: Penalties::NONE,
            constraints: TokenConstraints::default(),
            min_tokens: 0,
        }
    }

    /// The same, with random tokens.
    #[must_use]
    pub fn random(self, sampling: Sampling, seed: u64) -> Self {
        Self { sampling, seed, ..self }
    }

    /// The request under a number of its own.
    ///
    /// # Panics
    ///
    /// If it asks for no choice or no token.
    pub fn request(self, request_id: u64) -> GenerateRequest {
        GenerateRequest {
            request_id: RequestId(request_id),
            model: ModelId::new("test"),
            prompt: self.prompt,
            truncation: None,
            params: SamplingParams {
                n: NonZeroU32::new(self.n).expect("at least one choice"),
                max_tokens: Some(NonZeroU32::new(self.max_tokens).expect("at least one token")),
                stop: self.stop,
                ignore_eos: self.ignore_eos,
                logprobs: self.logprobs,
                prompt_logprobs: self.prompt_logprobs,
                penalties: self.penalties,
                constraints: self.constraints,
                min_tokens: self.min_tokens,
                ..SamplingParams::new(self.sampling, Seed(self.seed))
            },
            format: OutputFormat::Text,
            reasoning_effort: None,
            priority: self.priority,
            cache_salt: self.cache_salt,
        }
    }
}

impl Choice {
    /// Its whole text.
    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    /// The bits of its log-probabilities, to compare them exactly.
    pub fn logprob_bits(&self) -> Vec<u32> {
        self.logprobs.iter().map(|logprob| logprob.to_bits()).collect()
    }
}

impl Answer {
    /// Reads a stream to its end, holding it to the order of events that is promised.
    ///
    /// # Errors
    ///
    /// The error that the stream ended with.
    ///
    /// # Panics
    ///
    /// If events come in another order, or any follows the last one.
    pub async fn read(mut stream: EventStream) -> Result<Self, EngineError> {
        let first = stream.next().await.expect("a stream begins")?;
        assert!(matches!(first, GenerateEvent::Started { .. }), "began with {first:?}");
        let mut open: Vec<OpenChoice> = Vec::new();
        let mut prompt = Vec::new();
        loop {
            match stream.next().await.expect("a stream ends with Done or an error") {
                Err(error) => {
                    assert!(stream.next().await.is_none(), "an event after an error");
                    return Err(error);
                }
                Ok(GenerateEvent::Started { .. }) => panic!("started twice"),
                Ok(event @ (GenerateEvent::Reasoning(_) | GenerateEvent::ToolCall(_))) => {
                    panic!("an engine makes text alone: {event:?}")
                }
                Ok(GenerateEvent::PromptScored { tokens, .. }) => {
                    assert!(open.is_empty(), "the prompt comes before the answer");
                    prompt.extend(tokens);
                }
                Ok(GenerateEvent::Delta(delta)) => {
                    let choice = choice_of(&mut open, delta.choice);
                    assert!(choice.reason.is_none(), "text after the end of choice {}", delta.choice);
                    choice.tokens.extend(delta.tokens);
                    choice.pieces.push(delta.text);
                }
                Ok(GenerateEvent::Prompt { .. }) => {
                    assert!(open.is_empty(), "the prompt comes before the answer");
                }
                Ok(GenerateEvent::Finished { choice, reason, .. }) => {
                    let before = choice_of(&mut open, choice).reason.replace(reason);
                    assert!(before.is_none(), "choice {choice} ended twice");
                }
                Ok(GenerateEvent::Done(usage)) => {
                    assert!(stream.next().await.is_none(), "an event after Done");
                    let choices = open.into_iter().map(OpenChoice::close).collect();
                    return Ok(Self { prompt, choices, usage });
                }
            }
        }
    }

    /// The only choice.
    ///
    /// # Panics
    ///
    /// If there are more.
    pub fn only(&self) -> &Choice {
        assert_eq!(self.choices.len(), 1, "one choice was asked for");
        &self.choices[0]
    }
}

/// A choice that is being read.
#[derive(Debug, Default)]
struct OpenChoice {
    tokens: Vec<AnswerToken>,
    pieces: Vec<String>,
    reason: Option<FinishReason>,
}

impl OpenChoice {
    fn close(self) -> Choice {
        Choice {
            tokens: self
                .tokens
                .iter()
                .map(|scored| scored.token.expect("an engine tells its tokens").0)
                .collect(),
            logprobs: self.tokens.iter().map(|scored| scored.logprob).collect(),
            details: self.tokens.into_iter().filter_map(|token| token.detail).collect(),
            pieces: self.pieces,
            reason: self.reason.expect("every choice ends before Done"),
        }
    }
}

fn choice_of(choices: &mut Vec<OpenChoice>, index: u32) -> &mut OpenChoice {
    let index = index as usize;
    if choices.len() <= index {
        choices.resize_with(index + 1, OpenChoice::default);
    }
    &mut choices[index]
}

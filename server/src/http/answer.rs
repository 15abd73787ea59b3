//! What both ways of sending an answer read: events of a backend, checked to come to a good end or to one error.

use futures::stream::{Stream, StreamExt};
use spillway_api::openai::{FinishReason as WireReason, PromptTokensDetails, StopReason, Usage as WireUsage};
use spillway_router::{BackendError, TokenStream};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, PromptText, ReasoningDelta, StopMatch, ToolCallDelta, Usage,
};

/// A step of an answer that goes well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AnswerEvent {
    /// The text of a prompt, whose first choice is `choice`.
    Prompt { choice: u32, prompt: PromptText },
    /// More tokens of a prompt, whose first choice is `choice`.
    PromptScored { choice: u32, tokens: Vec<AnswerToken> },
    /// New text of a choice, and its tokens. The text may be empty while it is held back.
    Text { choice: u32, text: String, tokens: Vec<AnswerToken> },
    /// More of what the model thinks.
    Reasoning(ReasoningDelta),
    /// More of a call that the model makes.
    ToolCall(ToolCallDelta),
    /// A choice is complete.
    Finished { choice: u32, end: ChoiceEnd },
    /// All choices are complete; nothing follows.
    Done(WireUsage),
}

/// Why a choice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChoiceEnd {
    pub(crate) reason: WireReason,
    /// What of the client's it stopped at.
    pub(crate) stop: Option<StopReason>,
}

/// What is expected of a backend's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) num_prompts: u32,
    /// Choices of each prompt.
    pub(crate) num_choices_each: u32,
    pub(crate) output: Output,
}

/// Whether the client gets what is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Shown,
    /// The prompt was all that was wanted; a token was generated since there is no step without one.
    Hidden,
}

impl Expected {
    /// Choices of all prompts.
    pub(crate) fn num_choices(&self) -> u32 {
        self.num_prompts * self.num_choices_each
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The backend says so.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A choice was aborted, which only a closing server does while the client listens.
    #[error("the answer was cut off: the server is shutting down")]
    Aborted,
    /// The step that computed a choice failed.
    #[error("choice {choice} failed in the engine")]
    Failed { choice: u32 },
    /// The backend broke the rules of its stream.
    #[error("the backend {fault}")]
    Protocol { fault: &'static str },
}

/// Reads the events of a backend. Nothing follows a `Done` or an error.
pub(crate) fn events(
    stream: TokenStream,
    expected: Expected,
) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> {
    let reader =
        Reader { stream: Some(stream), num_unfinished: expected.num_choices(), output: expected.output };
    futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })
}

struct Reader {
    /// Taken at the end, so that the backend is let go at once.
    stream: Option<TokenStream>,
    num_unfinished: u32,
    output: Output,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<AnswerEvent, AnswerError>> {
        loop {
            let event = self.stream.as_mut()?.next().await;
            let item = self.read(event);
            if matches!(item, Some(Ok(AnswerEvent::Done(_)) | Err(_))) {
                self.stream = None;
            }
            if item.is_some() {
                return item;
            }
        }
    }

    fn read(
        &mut self,
        event: Option<Result<GenerateEvent, BackendError>>,
    ) -> Option<Result<AnswerEvent, AnswerError>> {
        let event = match event {
            None => return Some(Err(AnswerError::Protocol { fault: "ended the answer too early" })),
            Some(Err(error)) => return Some(Err(error.into())),
            Some(Ok(event)) => event,
        };
        match event {
            GenerateEvent::Started { .. } => None,
            GenerateEvent::Prompt { choice, prompt } => Some(Ok(AnswerEvent::Prompt { choice, prompt })),
            GenerateEvent::PromptScored { choice, tokens } => {
                Some(Ok(AnswerEvent::PromptScored { choice, tokens }))
            }
            GenerateEvent::Delta(_) if self.output == Output::Hidden => None,
            GenerateEvent::Delta(delta) => {
                let (choice, text, tokens) = (delta.choice, delta.text, delta.tokens);
                Some(Ok(AnswerEvent::Text { choice, text, tokens }))
            }
            GenerateEvent::Reasoning(delta) => Some(Ok(AnswerEvent::Reasoning(delta))),
            GenerateEvent::ToolCall(delta) => Some(Ok(AnswerEvent::ToolCall(delta))),
            GenerateEvent::Finished { choice, reason, stop } => Some(self.finished(choice, reason, stop)),
            GenerateEvent::Done(_) if self.num_unfinished > 0 => {
                Some(Err(AnswerError::Protocol { fault: "left choices unfinished" }))
            }
            GenerateEvent::Done(mut usage) => {
                if self.output == Output::Hidden {
                    usage.completion_tokens = 0;
                }
                Some(Ok(AnswerEvent::Done(wire_usage(usage))))
            }
        }
    }

    fn finished(
        &mut self,
        choice: u32,
        reason: FinishReason,
        stop: Option<StopMatch>,
    ) -> Result<AnswerEvent, AnswerError> {
        let reason = match reason {
            FinishReason::Stop => WireReason::Stop,
            FinishReason::Length => WireReason::Length,
            FinishReason::ToolCalls => WireReason::ToolCalls,
            FinishReason::ContentFilter => WireReason::ContentFilter,
            FinishReason::Aborted => return Err(AnswerError::Aborted),
            FinishReason::Failed => return Err(AnswerError::Failed { choice }),
        };
        self.num_unfinished = self.num_unfinished.saturating_sub(1);
        let end = match self.output {
            Output::Hidden => ChoiceEnd { reason: WireReason::Length, stop: None },
            Output::Shown => ChoiceEnd { reason, stop: stop.map(stop_reason) },
        };
        Ok(AnswerEvent::Finished { choice, end })
    }
}

fn stop_reason(stop: StopMatch) -> StopReason {
    match stop {
        StopMatch::Text(text) => StopReason::Text(text),
        StopMatch::Token(token) => StopReason::Token(token.0),
    }
}

fn wire_usage(usage: Usage) -> WireUsage {
    WireUsage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details: PromptTokensDetails { cached_tokens: usage.cached_tokens },
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WholeAnswer {
    /// What was told of each prompt.
    pub(crate) prompts: Vec<PromptAnswer>,
    /// The choices of the first prompt, then those of the second, and so on.
    pub(crate) choices: Vec<ChoiceAnswer>,
    /// What it cost.
    pub(crate) usage: WireUsage,
}

/// What was told of a prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PromptAnswer {
    pub(crate) text: Option<PromptText>,
    /// Its tokens from the second on.
    pub(crate) tokens: Vec<AnswerToken>,
}

/// A choice, complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChoiceAnswer {
    pub(crate) text: String,
    pub(crate) tokens: Vec<AnswerToken>,
    pub(crate) end: ChoiceEnd,
}

impl ChoiceAnswer {
    /// The mean log-probability of its tokens.
    fn mean_logprob(&self) -> f64 {
        let sum: f64 = self.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        sum / self.tokens.len().max(1) as f64
    }
}

impl WholeAnswer {
    /// Of every `num_each` choices keeps the `num_best` with the highest log-probability per token, best first; of equals
    /// the lower index first. If all are kept, they stay in their order.
    pub(crate) fn keep_best(&mut self, num_each: u32, num_best: u32) {
        if num_each <= num_best {
            return;
        }
        let mut kept = Vec::with_capacity(self.choices.len());
        for of_prompt in self.choices.chunks_mut(num_each as usize) {
            of_prompt.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
            kept.extend_from_slice(&of_prompt[..of_prompt.len().min(num_best as usize)]);
        }
        self.choices = kept;
    }
}

/// A choice that is being read.
#[derive(Debug, Clone, Default)]
struct OpenChoice {
    text: String,
    tokens: Vec<AnswerToken>,
    end: Option<ChoiceEnd>,
}

/// Waits for the whole answer.
pub(crate) async fn collect(stream: TokenStream, expected: Expected) -> Result<WholeAnswer, AnswerError> {
    let mut choices = vec![OpenChoice::default(); expected.num_choices() as usize];
    let mut prompts = vec![PromptAnswer::default(); expected.num_prompts as usize];
    let prompt_idx = |choice: u32| (choice / expected.num_choices_each) as usize;
    let mut events = Box::pin(events(stream, expected));
    while let Some(event) = events.next().await {
        let unknown = AnswerError::Protocol { fault: "answered a choice that was not asked for" };
        match event? {
            AnswerEvent::Prompt { choice, prompt } => {
                prompts.get_mut(prompt_idx(choice)).ok_or(unknown)?.text = Some(prompt);
            }
            AnswerEvent::PromptScored { choice, tokens } => {
                prompts.get_mut(prompt_idx(choice)).ok_or(unknown)?.tokens.extend(tokens);
            }
            AnswerEvent::Text { choice, text, tokens } => {
                let choice = choices.get_mut(choice as usize).ok_or(unknown)?;
                choice.text.push_str(&text);
                choice.tokens.extend(tokens);
            }
            AnswerEvent::Reasoning(_) | AnswerEvent::ToolCall(_) => {}
            AnswerEvent::Finished { choice, end } => {
                choices.get_mut(choice as usize).ok_or(unknown)?.end = Some(end);
            }
            AnswerEvent::Done(usage) => {
                let close = |OpenChoice { text, tokens, end }| Some(ChoiceAnswer { text, tokens, end: end? });
                let choices: Option<Vec<_>> = choices.into_iter().map(close).collect();
                let choices = choices.ok_or(AnswerError::Protocol { fault: "left choices unfinished" })?;
                return Ok(WholeAnswer { prompts, choices, usage });
            }
        }
    }
    Err(AnswerError::Protocol { fault: "ended the answer too early" })
}

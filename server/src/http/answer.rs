//! What both ways of sending an answer read: events of a backend, checked to come to a good end or to one error.

mod whole;

use std::collections::BTreeSet;

use futures::stream::{Stream, StreamExt};
use spillway_api::openai::{FinishReason as WireReason, PromptTokensDetails, StopReason, Usage as WireUsage};
use spillway_router::{BackendError, Cost, TokenStream};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, PromptText, ReasoningDelta, StopMatch, ToolCallDelta, Usage,
    Usd,
};

pub(crate) use whole::{ChoiceAnswer, PromptAnswer, WholeAnswer, collect};

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
    Done(Bill),
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
    pub(crate) calls: Calls,
}

/// Whether an answer may call tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// The client offered some.
    Offered,
    /// There are none: a call would be one that nobody can answer.
    NotOffered,
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

/// Where an answer comes from.
pub(crate) struct Source {
    /// Events of all prompts.
    pub(crate) stream: TokenStream,
    /// What will come on it.
    pub(crate) expected: Expected,
    /// What it costs, once it is over.
    pub(crate) costs: Costs,
}

/// What the prompts of a request cost together.
#[derive(Debug, Clone)]
pub(crate) struct Costs(Vec<Cost>);

impl Costs {
    pub(crate) fn new(costs: impl IntoIterator<Item = Cost>) -> Self {
        Self(costs.into_iter().collect())
    }

    /// The sum, once all of them are known.
    fn sum(&self) -> Option<Usd> {
        self.0.iter().map(Cost::get).sum()
    }
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bill {
    pub(crate) usage: WireUsage,
    /// The same in money, if it is known.
    pub(crate) cost: Option<Usd>,
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
pub(crate) fn events(source: Source) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> {
    let reader = Reader {
        stream: Some(source.stream),
        num_unfinished: source.expected.num_choices(),
        open_calls: BTreeSet::new(),
        expected: source.expected,
        costs: source.costs,
    };
    futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })
}

struct Reader {
    /// Taken at the end, so that the backend is let go at once.
    stream: Option<TokenStream>,
    num_unfinished: u32,
    /// Calls that were begun, by their choice and their place in it.
    open_calls: BTreeSet<(u32, u32)>,
    expected: Expected,
    costs: Costs,
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
            GenerateEvent::Delta(_) | GenerateEvent::Reasoning(_) | GenerateEvent::ToolCall(_)
                if self.expected.output == Output::Hidden =>
            {
                None
            }
            GenerateEvent::Delta(delta) => {
                let (choice, text, tokens) = (delta.choice, delta.text, delta.tokens);
                Some(Ok(AnswerEvent::Text { choice, text, tokens }))
            }
            GenerateEvent::Reasoning(delta) => Some(Ok(AnswerEvent::Reasoning(delta))),
            GenerateEvent::ToolCall(delta) => Some(self.tool_call(delta)),
            GenerateEvent::Finished { choice, reason, stop } => Some(self.finished(choice, reason, stop)),
            GenerateEvent::Done(_) if self.num_unfinished > 0 => {
                Some(Err(AnswerError::Protocol { fault: "left choices unfinished" }))
            }
            GenerateEvent::Done(mut usage) => {
                if self.expected.output == Output::Hidden {
                    usage.completion_tokens = 0;
                }
                let cost = self.costs.sum();
                Some(Ok(AnswerEvent::Done(Bill { usage: wire_usage(usage, cost), cost })))
            }
        }
    }

    fn tool_call(&mut self, delta: ToolCallDelta) -> Result<AnswerEvent, AnswerError> {
        if self.expected.calls == Calls::NotOffered {
            return Err(AnswerError::Protocol { fault: "called a tool, and none was offered" });
        }
        let call = (delta.choice, delta.call);
        let is_sound = match delta.opening {
            Some(_) => self.open_calls.insert(call),
            None => self.open_calls.contains(&call),
        };
        if is_sound {
            return Ok(AnswerEvent::ToolCall(delta));
        }
        Err(AnswerError::Protocol { fault: "began a call twice or not at all" })
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
        let end = match self.expected.output {
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

fn wire_usage(usage: Usage, cost: Option<Usd>) -> WireUsage {
    WireUsage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details: PromptTokensDetails { cached_tokens: usage.cached_tokens },
        // What is free has the fields that OpenAI's clients know, and no other.
        cost: cost.filter(|cost| *cost > Usd::ZERO).map(Usd::as_dollars),
    }
}

//! What both ways of sending an answer read: events of a backend, checked to come to a good end or to one error.

use futures::stream::{Stream, StreamExt};
use spillway_api::openai::{FinishReason as WireReason, PromptTokensDetails, Usage as WireUsage};
use spillway_router::{BackendError, TokenStream};
use spillway_types::{FinishReason, GenerateEvent, Usage};

/// A step of an answer that goes well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AnswerEvent {
    /// New text of a choice; never empty.
    Text { choice: u32, text: String },
    /// A choice is complete.
    Finished { choice: u32, reason: WireReason },
    /// All choices are complete; nothing follows.
    Done(WireUsage),
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
    num_choices: u32,
) -> impl Stream<Item = Result<AnswerEvent, AnswerError>> {
    let reader = Reader { stream: Some(stream), num_unfinished: num_choices };
    futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })
}

struct Reader {
    /// Taken at the end, so that the backend is let go at once.
    stream: Option<TokenStream>,
    num_unfinished: u32,
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
            GenerateEvent::Started { .. } | GenerateEvent::PromptScored { .. } => None,
            GenerateEvent::Delta(delta) if delta.text.is_empty() => None,
            GenerateEvent::Delta(delta) => {
                Some(Ok(AnswerEvent::Text { choice: delta.choice, text: delta.text }))
            }
            GenerateEvent::Finished { choice, reason } => Some(self.finished(choice, reason)),
            GenerateEvent::Done(_) if self.num_unfinished > 0 => {
                Some(Err(AnswerError::Protocol { fault: "left choices unfinished" }))
            }
            GenerateEvent::Done(usage) => Some(Ok(AnswerEvent::Done(wire_usage(usage)))),
        }
    }

    fn finished(&mut self, choice: u32, reason: FinishReason) -> Result<AnswerEvent, AnswerError> {
        let reason = match reason {
            FinishReason::Stop => WireReason::Stop,
            FinishReason::Length => WireReason::Length,
            FinishReason::Aborted => return Err(AnswerError::Aborted),
            FinishReason::Failed => return Err(AnswerError::Failed { choice }),
        };
        self.num_unfinished = self.num_unfinished.saturating_sub(1);
        Ok(AnswerEvent::Finished { choice, reason })
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
    /// Text and end of each choice, by index.
    pub(crate) choices: Vec<(String, WireReason)>,
    /// What it cost.
    pub(crate) usage: WireUsage,
}

/// Waits for the whole answer.
pub(crate) async fn collect(stream: TokenStream, num_choices: u32) -> Result<WholeAnswer, AnswerError> {
    let mut texts = vec![String::new(); num_choices as usize];
    let mut reasons = vec![None; num_choices as usize];
    let mut events = Box::pin(events(stream, num_choices));
    while let Some(event) = events.next().await {
        let unknown = AnswerError::Protocol { fault: "answered a choice that was not asked for" };
        match event? {
            AnswerEvent::Text { choice, text } => {
                texts.get_mut(choice as usize).ok_or(unknown)?.push_str(&text);
            }
            AnswerEvent::Finished { choice, reason } => {
                *reasons.get_mut(choice as usize).ok_or(unknown)? = Some(reason);
            }
            AnswerEvent::Done(usage) => {
                let missing = AnswerError::Protocol { fault: "left choices unfinished" };
                let reasons: Option<Vec<_>> = reasons.into_iter().collect();
                let choices = texts.into_iter().zip(reasons.ok_or(missing)?).collect();
                return Ok(WholeAnswer { choices, usage });
            }
        }
    }
    Err(AnswerError::Protocol { fault: "ended the answer too early" })
}

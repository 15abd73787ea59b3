//! The caller's side of one request: tokens become text, stop strings are met, usage is counted.
//!
//! # Invariants
//!
//! - Text that was given out is final: whole characters, and never a part of a stop string.
//! - Each choice gets exactly one `Finished`; after the last one comes `Done`, and then nothing.
//! - A stream that is dropped before its end aborts its request.
//!
//! In a request's path: fed by the engine thread, read by `server::http`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use spillway_text::{
    Detokenizer, Position, SpecialText, StopMatcher, StopStatus, StopStrings, TextError, Tokenizer,
};
use spillway_types::{FinishReason, GenerateEvent, RequestId, ScoredToken, SeqId, TextDelta, Usage};
use tokio::sync::mpsc;

use crate::error::EngineError;
use crate::message::{Control, Update};
use crate::text::from_text;

/// The events of one request. Dropping it before its end aborts the request.
pub struct EventStream {
    request_id: RequestId,
    updates: mpsc::UnboundedReceiver<Update>,
    control: flume::Sender<Control>,
    tokenizer: Arc<Tokenizer>,
    choices: Vec<Choice>,
    ready: VecDeque<Result<GenerateEvent, EngineError>>,
    usage: Usage,
    num_open: usize,
    state: State,
}

/// What the stream needs to know of its request.
pub(crate) struct StreamParts {
    pub(crate) request_id: RequestId,
    pub(crate) updates: mpsc::UnboundedReceiver<Update>,
    pub(crate) control: flume::Sender<Control>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) prompt_tokens: u32,
    /// One for each choice, in order.
    pub(crate) seq_ids: Vec<SeqId>,
    pub(crate) stop: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The engine knows that the request is over; what is ready is still to be read.
    Ended,
}

struct Choice {
    seq_id: SeqId,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    finished: bool,
}

impl EventStream {
    pub(crate) fn new(parts: StreamParts) -> Self {
        let stops = StopStrings::new(parts.stop);
        let detokenizer = Detokenizer::new(&parts.tokenizer, Position::AfterPrompt, SpecialText::Skip);
        let choices: Vec<Choice> = parts
            .seq_ids
            .iter()
            .map(|&seq_id| Choice {
                seq_id,
                detokenizer: detokenizer.clone(),
                stop: StopMatcher::new(stops.clone()),
                finished: false,
            })
            .collect();
        Self {
            request_id: parts.request_id,
            updates: parts.updates,
            control: parts.control,
            tokenizer: parts.tokenizer,
            num_open: choices.len(),
            choices,
            ready: VecDeque::from([Ok(GenerateEvent::Started { prompt_tokens: parts.prompt_tokens })]),
            usage: Usage { prompt_tokens: parts.prompt_tokens, ..Usage::default() },
            state: State::Running,
        }
    }

    fn accept(&mut self, update: Update) {
        match update {
            Update::Admitted { cached_tokens } => self.usage.cached_tokens = cached_tokens,
            Update::PromptScored { tokens } => {
                self.ready.push_back(Ok(GenerateEvent::PromptScored { tokens }));
            }
            Update::Tokens { choice, tokens, finish } => self.accept_tokens(choice, tokens, finish),
            Update::Failed { message } => {
                let request_id = self.request_id;
                self.ready.push_back(Err(EngineError::StepFailed { request_id, message }));
                self.state = State::Ended;
            }
        }
    }

    fn accept_tokens(&mut self, index: u32, mut tokens: Vec<ScoredToken>, finish: Option<FinishReason>) {
        let choice = &mut self.choices[index as usize];
        if choice.finished {
            return;
        }
        let read = match choice.read(&self.tokenizer, &tokens, finish) {
            Ok(read) => read,
            Err(error) => {
                // A token without text: the model's vocabulary is larger than its tokenizer's.
                self.tell(Control::Abort(self.request_id));
                self.ready.push_back(Err(from_text(error)));
                self.state = State::Ended;
                return;
            }
        };
        self.usage.completion_tokens += read.num_tokens as u32;
        if read.num_tokens > 0 || !read.text.is_empty() {
            tokens.truncate(read.num_tokens);
            self.ready.push_back(Ok(GenerateEvent::Delta(TextDelta {
                choice: index,
                text: read.text,
                tokens,
            })));
        }
        let Some(reason) = read.finish else { return };
        choice.finished = true;
        if finish.is_none() {
            // The engine does not know yet that a stop string was met.
            let seq_id = choice.seq_id;
            self.tell(Control::Finish(seq_id));
        }
        self.ready.push_back(Ok(GenerateEvent::Finished { choice: index, reason }));
        self.num_open -= 1;
        if self.num_open == 0 {
            self.ready.push_back(Ok(GenerateEvent::Done(self.usage)));
            self.state = State::Ended;
        }
    }

    /// Tells the engine something. One that has ended holds nothing any more, and needs no word.
    fn tell(&self, control: Control) {
        let _ = self.control.send(control);
    }
}

/// What one update gave: the first `num_tokens` tokens count, the rest came after a stop string.
struct Read {
    text: String,
    num_tokens: usize,
    finish: Option<FinishReason>,
}

impl Choice {
    fn read(
        &mut self,
        tokenizer: &Tokenizer,
        tokens: &[ScoredToken],
        finish: Option<FinishReason>,
    ) -> Result<Read, TextError> {
        // A sequence that ends by itself ends with an end token, which is no text.
        let num_text_tokens = match finish {
            Some(FinishReason::Stop) => tokens.len().saturating_sub(1),
            _ => tokens.len(),
        };
        let mut text = String::new();
        let mut piece = String::new();
        for (index, scored) in tokens[..num_text_tokens].iter().enumerate() {
            piece.clear();
            self.detokenizer.push(tokenizer, scored.token, &mut piece)?;
            if self.stop.push(&piece, &mut text) != StopStatus::Open {
                return Ok(Read { text, num_tokens: index + 1, finish: Some(FinishReason::Stop) });
            }
        }
        if finish.is_some() {
            piece.clear();
            self.detokenizer.finish(&mut piece);
            if self.stop.push(&piece, &mut text) != StopStatus::Open {
                return Ok(Read { text, num_tokens: tokens.len(), finish: Some(FinishReason::Stop) });
            }
            self.stop.finish(&mut text);
        }
        Ok(Read { text, num_tokens: tokens.len(), finish })
    }
}

impl Stream for EventStream {
    type Item = Result<GenerateEvent, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.state == State::Ended {
                return Poll::Ready(None);
            }
            if let Some(update) = ready!(self.updates.poll_recv(ctx)) {
                self.accept(update);
            } else {
                self.ready.push_back(Err(EngineError::Stopped));
                self.state = State::Ended;
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.state == State::Running {
            self.tell(Control::Abort(self.request_id));
        }
    }
}

#[cfg(test)]
mod tests;

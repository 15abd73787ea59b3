//! An answer that has begun: the events that were held back before it was committed to, and those to come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{Stream, StreamExt};
use spillway_types::{AnswerToken, GenerateEvent, TopLogprobs};

use crate::books::Books;
use crate::breaker::Breaker;
use crate::confidence::Signals;
use crate::standing::Waiting;
use crate::{BackendError, Confidence, TokenStream};

type Event = Result<GenerateEvent, BackendError>;

/// An answer with the first of its events, which nobody has seen yet.
pub(crate) struct Opened {
    held: VecDeque<Event>,
    /// Absent once it has ended.
    stream: Option<TokenStream>,
    books: Books,
    told: Told,
    /// Its place among those without a first content.
    waiting: Option<Waiting>,
    /// Who hears if it breaks after it was committed to.
    breaker: Option<Arc<Breaker>>,
}

/// What the client is told of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// All that the backend tells: no more was asked of it than the client wants.
    All,
    /// What the client asked for; the router asked for more.
    ToClient(Option<TopLogprobs>),
}

impl Opened {
    pub(crate) fn new(stream: TokenStream, books: Books, told: Told) -> Self {
        Self { held: VecDeque::new(), stream: Some(stream), books, told, waiting: None, breaker: None }
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// From now on it is the answer: it waits among others until there is content, and tells `breaker` if it breaks.
    pub(crate) fn committed(&mut self, waiting: Waiting, breaker: Arc<Breaker>) {
        self.waiting = Some(waiting).filter(|_| self.books.ttft().is_none());
        self.breaker = Some(breaker);
    }

    /// Reads on until it is over, for a client that gets it in one piece.
    ///
    /// # Errors
    ///
    /// What the backend says before: none of it was sent.
    pub(crate) async fn hold_all(&mut self) -> Result<(), BackendError> {
        while let Some(event) = self.read().await {
            self.held.push_back(Ok(event?));
        }
        Ok(())
    }

    /// Reads on until the first content is there.
    ///
    /// # Errors
    ///
    /// What the backend says before any; the books are closed with it.
    pub(crate) async fn hold_first(&mut self) -> Result<(), BackendError> {
        loop {
            match self.read().await {
                Some(Ok(event)) => {
                    let is_content = is_content(&event);
                    self.held.push_back(Ok(event));
                    if is_content {
                        return Ok(());
                    }
                }
                Some(Err(error)) => return Err(error),
                // A stream that ends without a last event is told to the client as one.
                None => return Ok(()),
            }
        }
    }

    /// Reads on until there are tokens enough to judge, or the answer is over.
    ///
    /// # Errors
    ///
    /// What the backend says before: none of it was sent.
    pub(crate) async fn hold_tokens(&mut self, confidence: &Confidence) -> Result<Signals, BackendError> {
        let mut tokens: Vec<AnswerToken> = self.held.iter().flat_map(held_tokens).cloned().collect();
        let mut is_over = self.held.iter().any(is_end);
        while !is_over && tokens.len() < confidence.hold_tokens as usize {
            match self.read().await {
                Some(Err(error)) => return Err(error),
                None => break,
                Some(event) => {
                    is_over = is_end(&event);
                    tokens.extend(held_tokens(&event).cloned());
                    self.held.push_back(event);
                }
            }
        }
        tokens.truncate(confidence.hold_tokens as usize);
        Ok(Signals::of(&tokens))
    }

    async fn read(&mut self) -> Option<Event> {
        let event = self.stream.as_mut()?.next().await;
        if let Some(event) = &event {
            self.saw(event);
        }
        event
    }

    fn saw(&mut self, event: &Event) {
        self.books.saw(event);
        if self.books.ttft().is_some() {
            self.waiting = None;
        }
        let Some(breaker) = &self.breaker else { return };
        match event {
            Ok(GenerateEvent::Done(_)) => breaker.ended(self.books.now()),
            Ok(_) => {}
            Err(error) => {
                breaker.failed(self.books.now(), error.treatment().cool_down, error.retry_after());
            }
        }
    }

    /// The answer, from its beginning.
    pub(crate) fn into_stream(self) -> TokenStream {
        Box::pin(self)
    }
}

impl Stream for Opened {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        let event = match this.held.pop_front() {
            Some(held) => Some(held),
            None => match &mut this.stream {
                None => None,
                Some(stream) => {
                    let event = std::task::ready!(stream.as_mut().poll_next(ctx));
                    if let Some(event) = &event {
                        this.saw(event);
                    }
                    event
                }
            },
        };
        if event.is_none() {
            this.stream = None;
        }
        Poll::Ready(event.map(|event| trimmed(event, this.told)))
    }
}

/// Takes out of an event what only the router had asked for.
fn trimmed(mut event: Event, told: Told) -> Event {
    if let (Told::ToClient(asked), Ok(GenerateEvent::Delta(delta))) = (told, &mut event) {
        for token in &mut delta.tokens {
            match (asked, &mut token.detail) {
                (None, detail) => *detail = None,
                (Some(top), Some(detail)) => detail.top.truncate(top.count()),
                (Some(_), None) => {}
            }
        }
    }
    event
}

/// The tokens of an event of the first choice.
fn held_tokens(event: &Event) -> impl Iterator<Item = &AnswerToken> {
    let delta = match event {
        Ok(GenerateEvent::Delta(delta)) if delta.choice == 0 => Some(delta),
        _ => None,
    };
    delta.into_iter().flat_map(|delta| &delta.tokens)
}

fn is_end(event: &Event) -> bool {
    matches!(event, Err(_) | Ok(GenerateEvent::Finished { .. } | GenerateEvent::Done(_)))
}

/// Whether the client would see anything of it.
fn is_content(event: &GenerateEvent) -> bool {
    match event {
        GenerateEvent::Started { .. } => false,
        GenerateEvent::Delta(delta) => !delta.text.is_empty() || !delta.tokens.is_empty(),
        GenerateEvent::Reasoning(_)
        | GenerateEvent::ToolCall(_)
        | GenerateEvent::Prompt { .. }
        | GenerateEvent::PromptScored { .. }
        | GenerateEvent::Finished { .. }
        | GenerateEvent::Done(_) => true,
    }
}

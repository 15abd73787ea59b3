//! Answers as server-sent events: chunks, comments that keep the connection open, an error as the last word.
//!
//! # Invariants
//!
//! - A stream ends with `[DONE]`, after its usage or after one error event.
//! - Dropping the response drops the backend's stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, StreamExt};
use serde::Serialize;
use spillway_api::openai::{FinishReason, Usage};
use spillway_router::TokenStream;

use crate::http::answer::{self, AnswerError, AnswerEvent};
use crate::http::error::ApiError;

/// How one endpoint writes its chunks. Each is one JSON document.
pub(crate) trait ChunkFormat: Send + 'static {
    /// Before any text: a chunk for each choice, or none.
    fn opening(&self, choice: u32) -> Option<String>;
    /// New text of a choice.
    fn text(&self, choice: u32, text: &str) -> String;
    /// The end of a choice.
    fn finished(&self, choice: u32, reason: FinishReason) -> String;
    /// What all choices cost, if the client asked.
    fn usage(&self, usage: Usage) -> Option<String>;
}

/// Writes a wire type as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("wire types have string keys and no failing serialisers")
}

/// Streams an answer of `num_choices` choices.
pub(crate) fn response(
    stream: TokenStream,
    num_choices: u32,
    format: impl ChunkFormat,
    keep_alive: Duration,
) -> Response {
    let data = chunks(stream, num_choices, format);
    let events = data.map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let keep_alive = KeepAlive::new().interval(keep_alive).text("keep-alive");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that buffer would hold the tokens back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The data of each event, in order.
fn chunks(
    stream: TokenStream,
    num_choices: u32,
    format: impl ChunkFormat,
) -> impl Stream<Item = String> + Send + 'static {
    let queue: VecDeque<String> = (0..num_choices).filter_map(|choice| format.opening(choice)).collect();
    let events = Box::pin(answer::events(stream, num_choices));
    futures::stream::unfold((queue, events, format), |(mut queue, mut events, format)| async move {
        if queue.is_empty() {
            queue.extend(write(events.next().await?, &format));
        }
        let data = queue.pop_front()?;
        Some((data, (queue, events, format)))
    })
}

fn write(event: Result<AnswerEvent, AnswerError>, format: &impl ChunkFormat) -> Vec<String> {
    match event {
        Ok(AnswerEvent::Text { choice, text }) => vec![format.text(choice, &text)],
        Ok(AnswerEvent::Finished { choice, reason }) => vec![format.finished(choice, reason)],
        Ok(AnswerEvent::Done(usage)) => format.usage(usage).into_iter().chain([DONE.to_owned()]).collect(),
        Err(error) => vec![json_line(&ApiError::from(error).body()), DONE.to_owned()],
    }
}

/// The last event of every stream.
const DONE: &str = "[DONE]";

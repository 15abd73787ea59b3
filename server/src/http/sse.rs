//! Answers as server-sent events: chunks, comments that keep the connection open, an error as the last word.
//!
//! # Invariants
//!
//! - A stream ends with `[DONE]`, after its usage or after one error event.
//! - Dropping the response drops the backend's stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, StreamExt};
use serde::Serialize;
use spillway_router::TokenStream;

use crate::http::answer::{self, AnswerError, AnswerEvent, Expected};
use crate::http::error::ApiError;

/// How one endpoint writes its chunks. Each is one JSON document.
pub(crate) trait ChunkFormat: Send + 'static {
    /// Before anything else of a choice.
    fn opening(&self, choice: u32) -> Vec<String>;
    /// What is sent for one event, if anything.
    fn event(&mut self, event: AnswerEvent) -> Vec<String>;
}

/// Writes a wire type as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("wire types have string keys and no failing serialisers")
}

/// Streams an answer.
pub(crate) fn response(
    stream: TokenStream,
    expected: Expected,
    format: impl ChunkFormat,
    keep_alive: Duration,
) -> Response {
    let data = chunks(stream, expected, format);
    let events = data.map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let keep_alive = KeepAlive::new().interval(keep_alive).text("keep-alive");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that buffer would hold the tokens back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Whether a response is a stream of events.
pub(crate) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The events that end a stream which breaks off between two of its own, as they are on the wire.
pub(crate) fn last_events(error: &ApiError) -> Bytes {
    Bytes::from(format!("data: {}\n\ndata: {DONE}\n\n", json_line(&error.body())))
}

/// The data of each event, in order.
fn chunks(
    stream: TokenStream,
    expected: Expected,
    format: impl ChunkFormat,
) -> impl Stream<Item = String> + Send + 'static {
    let queue: VecDeque<String> =
        (0..expected.num_choices()).flat_map(|choice| format.opening(choice)).collect();
    let events = Box::pin(answer::events(stream, expected));
    futures::stream::unfold((queue, events, format), |(mut queue, mut events, mut format)| async move {
        // Events that nothing is sent for are passed over.
        while queue.is_empty() {
            queue.extend(write(events.next().await?, &mut format));
        }
        let data = queue.pop_front()?;
        Some((data, (queue, events, format)))
    })
}

fn write(event: Result<AnswerEvent, AnswerError>, format: &mut impl ChunkFormat) -> Vec<String> {
    match event {
        Ok(event @ AnswerEvent::Done(_)) => {
            format.event(event).into_iter().chain([DONE.to_owned()]).collect()
        }
        Ok(event) => format.event(event),
        Err(error) => vec![json_line(&ApiError::from(error).body()), DONE.to_owned()],
    }
}

/// The last event of every stream.
const DONE: &str = "[DONE]";

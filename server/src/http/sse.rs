//! Answers as server-sent events: chunks, comments that keep the connection open, an error as the last word.
//!
//! # Invariants
//!
//! - A stream ends with `[DONE]`, after its usage or after one error event. A comment before it tells what the answer cost,
//!   if that is known: the headers were sent long before.
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

use crate::http::answer::{self, AnswerError, AnswerEvent, Source};
use crate::http::error::ApiError;
use crate::http::generation::COST_HEADER;

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
pub(crate) fn response(source: Source, format: impl ChunkFormat, keep_alive: Duration) -> Response {
    let events = lines(source, format).map(|line| {
        Ok::<_, Infallible>(match line {
            Line::Data(data) => Event::default().data(data),
            Line::Comment(text) => Event::default().comment(text),
        })
    });
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

/// What is sent at once.
enum Line {
    Data(String),
    Comment(String),
}

/// Everything that is sent, in order.
fn lines(source: Source, format: impl ChunkFormat) -> impl Stream<Item = Line> + Send + 'static {
    let opening = (0..source.expected.num_choices()).flat_map(|choice| format.opening(choice));
    let queue: VecDeque<Line> = opening.map(Line::Data).collect();
    let events = Box::pin(answer::events(source));
    futures::stream::unfold((queue, events, format), |(mut queue, mut events, mut format)| async move {
        // Events that nothing is sent for are passed over.
        while queue.is_empty() {
            queue.extend(write(events.next().await?, &mut format));
        }
        let line = queue.pop_front()?;
        Some((line, (queue, events, format)))
    })
}

fn write(event: Result<AnswerEvent, AnswerError>, format: &mut impl ChunkFormat) -> Vec<Line> {
    let done = || Line::Data(DONE.to_owned());
    match event {
        Ok(AnswerEvent::Done(bill)) => {
            let cost = bill.cost.map(|cost| Line::Comment(format!("{COST_HEADER} {cost}")));
            let last = format.event(AnswerEvent::Done(bill)).into_iter().map(Line::Data);
            last.chain(cost).chain([done()]).collect()
        }
        Ok(event) => format.event(event).into_iter().map(Line::Data).collect(),
        Err(error) => vec![Line::Data(json_line(&ApiError::from(error).body())), done()],
    }
}

/// The last event of every stream.
const DONE: &str = "[DONE]";

//! An end to every request that has one set: by the operator, or by the client in `x-spillway-timeout`.
//!
//! Time runs from the request's arrival, so reading its body, tokenising and waiting in the queue count. What is late is
//! dropped, which aborts it in the engine; the client hears why, by a status or as a stream's last event.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::config::TimeSpan;
use crate::http::error::ApiError;
use crate::http::request_error::RequestError;
use crate::http::sse;
use crate::http::state::AppState;

/// Header in which a client says how long it waits.
const TIMEOUT_HEADER: &str = "x-spillway-timeout";

/// Gives a request the shorter of the operator's time and its client's.
pub(crate) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let asked = match asked(request.headers()) {
        Ok(asked) => asked,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let limit = asked.into_iter().chain(state.parts().limits.request_timeout).min();
    // So far away that no clock can tell is no deadline.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let Some((limit, deadline)) = limit.zip(deadline) else { return next.run(request).await };
    let error = ApiError::from(RequestError::DeadlineExceeded { limit });
    let Ok(response) = timeout_at(deadline, next.run(request)).await else { return error.into_response() };
    if !sse::is_stream(&response) {
        return response;
    }
    let end = Box::pin(sleep_until(deadline));
    response.map(|body| Body::new(Limited { body: Some(body), end, error }))
}

/// The time that a client asks for.
fn asked(headers: &HeaderMap) -> Result<Option<Duration>, RequestError> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let invalid = |message: String| RequestError::invalid(TIMEOUT_HEADER, message);
    let span: TimeSpan =
        text.trim().parse().map_err(|error| invalid(format!("{TIMEOUT_HEADER}: {error}")))?;
    if span.duration().is_zero() {
        return Err(invalid(format!("{TIMEOUT_HEADER} is {span}, must be longer than 0s")));
    }
    Ok(Some(span.duration()))
}

/// A stream of events that ends with an error when its time is over.
struct Limited {
    /// Dropped at the end, and with it whatever makes the events.
    body: Option<Body>,
    end: Pin<Box<Sleep>>,
    error: ApiError,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // First, since there may always be a frame to send.
        if this.end.as_mut().poll(ctx).is_ready() {
            // What has said its last word is not late, even if nobody has asked yet whether more comes.
            let is_complete = matches!(Pin::new(body).poll_frame(ctx), Poll::Ready(None));
            this.body = None;
            let error = (!is_complete).then(|| Ok(Frame::data(sse::last_events(&this.error))));
            return Poll::Ready(error);
        }
        let frame = Pin::new(body).poll_frame(ctx);
        if matches!(frame, Poll::Ready(None)) {
            this.body = None;
        }
        frame
    }
}

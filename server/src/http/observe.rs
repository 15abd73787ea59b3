//! Around every request: its name, its place among those in flight, one line in the log, one count.
//!
//! A request is over when its last byte is sent or its client is gone, not when its headers are.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::http::followed::Followed;
use crate::http::generation::RequestName;
use crate::http::state::AppState;

/// Header that names a request, in both directions.
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// The path in metrics and logs of a request that meets no endpoint: what clients made up is not kept.
const UNMATCHED: &str = "unmatched";

/// Names the request, and follows it to its end.
pub(crate) async fn observe(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let name = given_name(request.headers()).unwrap_or_else(|| state.ids().request_name().into());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let in_flight = InFlight::new(&state, Arc::clone(&name), request.method().clone(), path);
    request.extensions_mut().insert(RequestName(Arc::clone(&name)));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::try_from(&*name) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    let in_flight = in_flight.answered(response.status());
    response.map(|body| {
        Followed::body(body, in_flight, |in_flight, frame| {
            in_flight.num_bytes += frame.data_ref().map_or(0, Bytes::len);
        })
    })
}

/// The client's own name, if it is short and printable.
fn given_name(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(REQUEST_ID_HEADER)?.to_str().ok()?;
    let is_fit = !text.is_empty()
        && text.len() <= MAX_REQUEST_ID_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_fit.then(|| Arc::from(text))
}

/// A request in flight. Dropping it ends it.
struct InFlight {
    name: Arc<str>,
    method: Method,
    path: Option<MatchedPath>,
    /// Absent when the client left before the headers were sent.
    status: Option<StatusCode>,
    num_bytes: usize,
    began: Instant,
    _token: TaskTrackerToken,
}

impl InFlight {
    fn new(state: &AppState, name: Arc<str>, method: Method, path: Option<MatchedPath>) -> Self {
        gauge!("spillway_http_requests_in_flight").increment(1.0);
        let token = state.parts().lifecycle.in_flight();
        Self { name, method, path, status: None, num_bytes: 0, began: Instant::now(), _token: token }
    }

    fn answered(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let path = self.path.as_ref().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
        // As nginx writes it: the client closed the request.
        let status = self.status.map_or(499, |status| status.as_u16());
        gauge!("spillway_http_requests_in_flight").decrement(1.0);
        counter!("spillway_http_requests_total", "path" => path.clone(), "status" => status.to_string())
            .increment(1);
        tracing::info!(
            request_id = %self.name,
            method = %self.method,
            path,
            status,
            num_bytes = self.num_bytes,
            duration_ms = self.began.elapsed().as_millis() as u64,
            "request"
        );
    }
}

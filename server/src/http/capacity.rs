//! How many requests there may be at once. Beyond it, one is refused before its body is read.
//!
//! The engine's queue has limits of its own; this one bounds what requests take before they reach it, and after.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::followed::Followed;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// Lets a request through if there is room for it, which it takes until its last byte is sent.
pub(crate) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Ok(place) = Arc::clone(state.places()).try_acquire_owned() else {
        let limit = state.parts().limits.max_concurrent_requests.get();
        return ApiError::from(RequestError::TooManyRequests { limit }).into_response();
    };
    next.run(request).await.map(|body| Followed::body(body, place, |_, _| {}))
}

//! How many requests there may be at once. Beyond it, one is refused before its body is read.
//!
//! The engine's queue has limits of its own; this one bounds what requests take before they reach it, and after.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::http::error::ApiError;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// Lets a request through if there is room for it, which it takes until its last byte is sent.
pub(crate) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Ok(place) = Arc::clone(state.places()).try_acquire_owned() else {
        let limit = state.parts().limits.max_concurrent_requests.get();
        return ApiError::from(RequestError::TooManyRequests { limit }).into_response();
    };
    next.run(request).await.map(|body| Body::new(Placed { body, _place: place }))
}

/// A body that keeps its request's place, and is otherwise what it was.
struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(ctx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! An answer's body that holds something until its last byte is sent or its client is gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// A body that shows each of its frames to what it holds, and is otherwise what it was.
pub(super) struct Followed<T> {
    body: Body,
    held: T,
    on_frame: fn(&mut T, &Frame<Bytes>),
}

impl<T: Send + Unpin + 'static> Followed<T> {
    /// The body with `held`, which is dropped with it.
    pub(super) fn body(body: Body, held: T, on_frame: fn(&mut T, &Frame<Bytes>)) -> Body {
        Body::new(Self { body, held, on_frame })
    }
}

impl<T: Unpin> HttpBody for Followed<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(ctx));
        if let Some(Ok(frame)) = &frame {
            (this.on_frame)(&mut this.held, frame);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

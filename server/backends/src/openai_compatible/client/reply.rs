//! The body of an answer, which moves its own connection on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connection::Connection;
use super::pool::Pool;

/// A body on its connection. Read to its end, it leaves the connection to the next request; dropped before, it closes it.
pub(in super::super) struct ReplyBody {
    body: Incoming,
    /// Absent once it was given back.
    connection: Option<Connection>,
    pool: Arc<Pool>,
}

impl ReplyBody {
    pub(super) fn new(body: Incoming, connection: Connection, pool: Arc<Pool>) -> Self {
        Self { body, connection: Some(connection), pool }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let body = &mut this.body;
        let frame = match &mut this.connection {
            Some(connection) => connection.poll_for(ctx, |ctx| Pin::new(&mut *body).poll_frame(ctx)),
            None => Pin::new(body).poll_frame(ctx),
        };
        if matches!(frame, Poll::Ready(None))
            && let Some(connection) = this.connection.take()
        {
            this.pool.keep(connection);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        // Only reading to the end gives the connection back.
        self.connection.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

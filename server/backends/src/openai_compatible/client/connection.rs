//! One connection to a replica, moved on by whoever waits for its answer.
//!
//! Hyper would have each connection in a task of its own, and a piece of an answer wakes two tasks then, often on two
//! threads. Here the task of the request reads and writes itself: what comes in is handed over without a wake-up between.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::held_waker::HeldWaker;

/// Bytes of both directions, in TLS or not.
pub(super) type Socket = MaybeHttpsStream<TokioIo<TcpStream>>;

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes; absent once the connection has ended.
    driver: Option<http1::Connection<Socket, Full<Bytes>>>,
    waker: HeldWaker,
}

impl Connection {
    pub(super) async fn begin(socket: Socket) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(socket).await?;
        Ok(Self { sender, driver: Some(driver), waker: HeldWaker::new() })
    }

    /// Sends a request, which must have its `Host`, and waits for the head of the answer. The body of it comes only as
    /// the connection is driven on.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|ctx| self.poll_for(ctx, |ctx| answer.as_mut().poll(ctx))).await
    }

    /// Polls for something that comes on this connection: reads and writes what can be now, as long as it is not there.
    pub(super) fn poll_for<T>(
        &mut self,
        ctx: &Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { waker, driver, .. } = self;
        waker.poll(ctx, |ctx| {
            // First what has been read by now, since the connection reads on only as that is taken.
            let found = wanted(ctx);
            if found.is_ready() {
                return found;
            }
            drive(driver, ctx);
            wanted(ctx)
        })
    }

    /// Whether it is open, and the last answer has come to its end, as far as can be seen now.
    pub(super) fn is_free(&mut self) -> bool {
        // Nobody waits for it.
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

fn drive(driver: &mut Option<http1::Connection<Socket, Full<Bytes>>>, ctx: &mut Context<'_>) {
    // An error is told to who waits for an answer or reads its body; without either, nobody has lost anything.
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(ctx).is_ready()) {
        *driver = None;
    }
}

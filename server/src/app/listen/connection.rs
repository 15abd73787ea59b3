//! One connection: TLS if there is any, HTTP/1.1, and an end to every wait.
//!
//! # Deliberately absent
//!
//! HTTP/2: a stream whose client grants it no window is not polled any more, so that no limit of time would end it.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::stall::StallGuard;
use super::tls::Tls;

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a handshake, and for the headers of the next request.
    pub(super) header: Duration,
    /// For more room to write to.
    pub(super) stall: Duration,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    service: Router,
    tls: Option<&Tls>,
    patience: Patience,
    closed: CancellationToken,
) {
    // Tokens are small and must not wait for more of them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection refuses TCP_NODELAY");
    }
    let Some(tls) = tls else { return serve_http(stream, service, patience, closed).await };
    match timeout(patience.header, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => serve_http(stream, service, patience, closed).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_http<I>(stream: I, service: Router, patience: Patience, closed: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| service.clone().call(request));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.header);
    let stream = TokioIo::new(StallGuard::new(stream, patience.stall));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "a connection ended badly");
                }
                return;
            }
            () = closed.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

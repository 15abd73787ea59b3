//! One connection: TLS if there is any, HTTP/1 or HTTP/2, and an end to every wait.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::stall::StallGuard;
use super::tls::Tls;

/// Time after which an HTTP/2 client is asked whether it is there, and that it gets to say so.
const PING: Duration = Duration::from_secs(20);

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
    let asked = CancellationToken::new();
    let service = service_fn({
        let asked = asked.clone();
        move |request: Request<Incoming>| {
            asked.cancel();
            service.clone().call(request)
        }
    });
    let builder = builder(patience);
    let stream = TokioIo::new(StallGuard::new(stream, patience.stall));
    let mut connection = pin!(builder.serve_connection(stream, service));
    // hyper's own time limit begins only when it knows which HTTP is spoken.
    let mut is_silent = pin!(async {
        if timeout(patience.header, asked.cancelled()).await.is_ok() {
            pending::<()>().await;
        }
    });
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "a connection ended badly");
                }
                return;
            }
            () = is_silent.as_mut() => return tracing::debug!("a connection sent no request in --header-timeout"),
            () = closed.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.header);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    builder
}

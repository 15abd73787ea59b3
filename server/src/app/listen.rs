//! Listens, serves, and closes in order: refuse new work, let the old finish, abort what is left, leave.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use spillway_engine::{Clock, EngineThread};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::HttpConfig;
use crate::http::Lifecycle;

/// Time that clients get to read their last bytes after everything was finished or aborted.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between the moments at which recorded values are folded into histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What is needed to close.
pub(super) struct Closing {
    /// Tells the service, and counts its requests.
    pub(super) lifecycle: Lifecycle,
    /// To be stopped.
    pub(super) engine: EngineThread,
    /// On which the engine is told when to end.
    pub(super) engine_clock: Arc<dyn Clock>,
    /// Time that requests get to finish.
    pub(super) drain_timeout: Duration,
}

/// Serves until SIGTERM or SIGINT, then closes.
pub(super) async fn serve(
    service: Router,
    config: &HttpConfig,
    closing: Closing,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let listener = TcpListener::bind((config.host.as_str(), config.port))
        .await
        .with_context(|| format!("--host {} --port {} cannot be listened on", config.host, config.port))?;
    tracing::info!(address = %format!("http://{}", listener.local_addr()?), "listening");
    // Tokens are small and must not wait for more of them.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection refuses TCP_NODELAY");
        }
    });

    let mut tasks = JoinSet::new();
    tasks.spawn(fold_metrics(metrics));
    let closed = CancellationToken::new();
    let server = axum::serve(listener, service).with_graceful_shutdown(closed.clone().cancelled_owned());
    let mut server = Box::pin(server.into_future());
    tokio::select! {
        ended = &mut server => return ended.context("the listener broke"),
        () = signals.next() => tracing::info!("draining: a second signal cuts off what is in flight"),
    }
    // The server goes on meanwhile: it answers what is in flight, and refuses what is new.
    tokio::select! {
        ended = &mut server => return ended.context("the listener broke"),
        drained = drain(closing, &mut signals) => drained?,
    }
    closed.cancel();
    if tokio::time::timeout(LAST_BYTES_TIMEOUT, server).await.is_err() {
        tracing::warn!("closed with clients still connected");
    }
    tracing::info!("closed");
    Ok(())
}

/// Refuses new work, waits for the old until the timeout or a second signal, breaks off what is left.
async fn drain(closing: Closing, signals: &mut Signals) -> anyhow::Result<()> {
    let Closing { lifecycle, engine, engine_clock, drain_timeout } = closing;
    lifecycle.start_draining();
    tokio::select! {
        () = lifecycle.drained() => {}
        () = tokio::time::sleep(drain_timeout) => tracing::warn!("--drain-timeout is over: cutting off what is left"),
        () = signals.next() => tracing::warn!("a second signal: cutting off what is left"),
    }
    lifecycle.cut_off();
    let now = engine_clock.now();
    let stopped = tokio::task::spawn_blocking(move || engine.stop(now)).await?;
    if tokio::time::timeout(LAST_BYTES_TIMEOUT, lifecycle.drained()).await.is_err() {
        tracing::warn!("some clients did not read their answers to the end");
    }
    stopped.context("the engine broke before it was stopped")
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT"),
        }
    }
}

async fn fold_metrics(metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(METRICS_UPKEEP);
    loop {
        interval.tick().await;
        metrics.run_upkeep();
    }
}

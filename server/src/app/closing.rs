//! Serving until a signal comes, then closing in order: refuse new work, let the old finish, abort what is left, leave.
//!
//! The server goes on listening meanwhile: it answers what is in flight, and refuses what is new with a status that
//! tells load balancers to go elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use spillway_engine::{Clock, EngineThread};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listen::Port;
use super::reload::{Apply, Watching};
use crate::http::Lifecycle;
use crate::routing::TaskOwner;

/// Time that clients get to read their last bytes after everything was finished or aborted.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that the step in flight gets after everything was aborted. A healthy one takes less; one that hangs must not
/// keep the process.
const LAST_STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between the moments at which recorded values are folded into histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The engine did not end in order; the process ends without it.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineLeft {
    /// Its step was still running.
    #[error("the engine's step was still running after everything was aborted: ending without it")]
    Hung,
    /// Its thread had panicked.
    #[error("the engine broke before it was stopped")]
    Broken,
}

/// What is needed to close.
pub(super) struct Closing {
    /// Tells the service, and counts its requests.
    pub(super) lifecycle: Lifecycle,
    /// To be stopped, if there is one, at a time of this clock.
    pub(super) engine: Option<(EngineThread, Arc<dyn Clock>)>,
    /// What the router runs beside requests.
    pub(super) router_tasks: TaskOwner,
    /// Time that requests get to finish.
    pub(super) drain_timeout: Duration,
}

/// Serves until SIGTERM or SIGINT, then closes.
pub(super) async fn serve(
    ports: Vec<Port>,
    watching: Watching<impl Apply + 'static>,
    closing: Closing,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(fold_metrics(metrics));
    if !watching.is_idle() {
        // Else SIGHUP keeps its usual meaning: the terminal is gone.
        tasks.spawn(watching.run(signal(SignalKind::hangup())?));
    }
    let closed = CancellationToken::new();
    let mut connections = JoinSet::new();
    for port in ports {
        connections.spawn(port.serve(closed.clone()));
    }
    signals.next().await;
    tracing::info!("draining: a second signal cuts off what is in flight");
    let drained = drain(closing, &mut signals).await;
    closed.cancel();
    let all_closed = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_BYTES_TIMEOUT, all_closed).await.is_err() {
        tracing::warn!("closed with clients still connected");
    }
    drained?;
    tracing::info!("closed");
    Ok(())
}

/// Refuses new work, waits for the old until the timeout or a second signal, breaks off what is left.
async fn drain(closing: Closing, signals: &mut Signals) -> anyhow::Result<()> {
    let Closing { lifecycle, engine, router_tasks, drain_timeout } = closing;
    lifecycle.start_draining();
    tokio::select! {
        () = lifecycle.drained() => {}
        () = tokio::time::sleep(drain_timeout) => tracing::warn!("--drain-timeout is over: cutting off what is left"),
        () = signals.next() => tracing::warn!("a second signal: cutting off what is left"),
    }
    lifecycle.cut_off();
    router_tasks.end().await;
    let stopped = match engine {
        Some((engine, clock)) => stop(engine, clock.now(), signals).await,
        None => Ok(()),
    };
    if tokio::time::timeout(LAST_BYTES_TIMEOUT, lifecycle.drained()).await.is_err() {
        tracing::warn!("some clients did not read their answers to the end");
    }
    stopped
}

/// Stops the engine, as soon as its last step is done.
async fn stop(engine: EngineThread, now: Duration, signals: &mut Signals) -> anyhow::Result<()> {
    let stopping = tokio::task::spawn_blocking(move || engine.stop(now));
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(LAST_STEP_TIMEOUT, stopping) => stopped.map_err(|_| EngineLeft::Hung),
        () = signals.next() => Err(EngineLeft::Hung),
    };
    stopped?.context("the engine could not be waited for")?.map_err(|_| EngineLeft::Broken.into())
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

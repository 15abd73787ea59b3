//! `spillway serve`: from a checked config to a server that listens, until a signal comes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use metrics::gauge;
use spillway_router::{BoxFuture, Ledger, Runtime};
use spillway_store::{Store, StoreConfig, UnixMs};

use super::closing::{self, Closing};
use super::compose::{Composer, LocalModel};
use super::listen::{Port, Tls};
use super::reload::{Apply, Reload, Watching};
use super::watchdog::Watchdog;
use super::{device, engine, logging, model_source, prometheus, runtime, wall_clock};
use crate::config::{ApiKeys, BackendConfig, ConfigSource, HttpConfig, ServeConfig, StorePlace};
use crate::http::{self, AppState, HttpLimits, HttpParts, Lifecycle, MetricsPlace, WallClock};
use crate::routing::{NoLedger, StoreLedger, TokioRuntime, UnixClock};

/// Time for which a ledger in memory keeps calls, and between two looks for older ones.
const KEPT_IN_MEMORY: Duration = Duration::from_hours(24);
const FORGET_INTERVAL: Duration = Duration::from_mins(10);
/// Time between two sums of the month: one over a million calls takes a third of a second.
const TELL_INTERVAL: Duration = Duration::from_mins(1);
/// Time between the comments that keep an idle stream open.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Loads the model if there is one, starts its engine, and serves until a signal comes.
pub(super) fn serve(config: ServeConfig, source: Option<ConfigSource>) -> anyhow::Result<()> {
    logging::start(&config.log)?;
    let metrics = prometheus::start()?;
    let clock = wall_clock();
    let lifecycle = Lifecycle::default();
    let engine = start_engine(&config, &clock)?;
    let watchdog = engine.as_ref().map(|engine| {
        let limit = engine.watchdog_timeout;
        Watchdog::start(engine.started.handle.clone(), lifecycle.clone(), limit)
    });
    let _watchdog = watchdog.transpose().context("the watchdog's thread could not be started")?;
    let store = open_store(&config)?;
    let ledger: Arc<dyn Ledger> = match &store {
        Some(store) => Arc::new(StoreLedger::new(store.ledger(), unix_clock())),
        None => Arc::new(NoLedger),
    };
    let runtime = runtime()?;
    // What runs beside requests begins before the first of them.
    let _context = runtime.enter();
    let (router_runtime, router_tasks) = TokioRuntime::start();
    if let Some(store) = &store {
        router_runtime.spawn(Box::pin(tell_month(store.ledger(), unix_clock())));
    }
    if let (Some(store), StorePlace::Memory) = (&store, &config.store) {
        router_runtime.spawn(Box::pin(forget_old_calls(store.ledger(), unix_clock())));
    }
    let local = engine.as_ref().map_or(LocalModel::Absent, |engine| LocalModel::Running {
        engine: engine.started.handle.clone(),
        defaults: engine.started.defaults,
    });
    let mut composer = Composer::new(local, ledger, Arc::new(router_runtime), Arc::clone(&clock));

    let routing = runtime.block_on(composer.compose(&config))?;
    for warning in &config.routing.warnings {
        tracing::warn!("{warning}");
    }
    let state = AppState::new(HttpParts {
        routing: ArcSwap::from_pointee(routing),
        limits: http_limits(&config.http),
        metrics_place: if config.http.admin.is_some() {
            MetricsPlace::AdminPort
        } else {
            MetricsPlace::EveryPort
        },
        allowed_origins: config.security.allowed_origins.clone(),
        keep_alive: KEEP_ALIVE,
        metrics: metrics.clone(),
        clock,
        lifecycle: lifecycle.clone(),
    });
    let tls = config.security.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
    let ports = runtime.block_on(open_ports(&config, &state, tls.as_ref()))?;
    let drain_timeout = config.http.drain_timeout;
    let closing = Closing {
        lifecycle,
        engine: engine.map(|engine| (engine.started.thread, engine.started.clock)),
        router_tasks,
        drain_timeout,
    };
    let reload = source.map(|source| Reload::new(source, config, Swap { composer, state }));
    let watching = Watching { tls, reload };
    let served = runtime.block_on(closing::serve(ports, watching, closing, metrics));
    // It may hold a thread that waits for a step which never ends.
    runtime.shutdown_background();
    if let Some(store) = store {
        store.close().context("the last entries of the ledger could not be written")?;
    }
    served
}

/// Puts what is composed in the place of what serves. Requests that run keep what they began with.
struct Swap {
    composer: Composer,
    state: AppState,
}

impl Apply for Swap {
    fn apply<'a>(&'a mut self, config: &'a ServeConfig) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let routing = self.composer.compose(config).await?;
            self.state.replace_routing(routing);
            Ok(())
        })
    }
}

/// An engine that runs, and how long its steps may take.
struct RunningEngine {
    started: engine::Started,
    watchdog_timeout: Duration,
}

fn start_engine(config: &ServeConfig, clock: &WallClock) -> anyhow::Result<Option<RunningEngine>> {
    let Some(settings) = &config.engine else { return Ok(None) };
    let device = device::find(settings)?;
    let source = model_source(&settings.model.choice)?;
    let started = engine::start(settings, device, &source, clock)?;
    Ok(Some(RunningEngine { started, watchdog_timeout: settings.scheduler.watchdog_timeout }))
}

/// Opens the place where calls are kept, if they are: where nothing costs anything, nothing is kept in memory.
fn open_store(config: &ServeConfig) -> anyhow::Result<Option<Store>> {
    let is_paid = config.routing.backends.iter().any(BackendConfig::is_paid);
    let path = match &config.store {
        StorePlace::File(path) => path,
        StorePlace::Memory if !is_paid => return Ok(None),
        StorePlace::Memory => {
            tracing::warn!("[store] path is memory: what was spent is forgotten when the server ends");
            return Ok(Some(Store::in_memory(StoreConfig::DEFAULT_MAX_PENDING)?));
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} of [store] path cannot be made", folder.display()))?;
    }
    let store = Store::open(&StoreConfig::new(path)).context("[store] path")?;
    let open = store.found_open();
    if open.num_calls > 0 {
        tracing::warn!(
            calls = open.num_calls,
            charged_usd = %open.reserved,
            "an earlier process left calls open: they stay charged at their reservations, as unsettled"
        );
    }
    tracing::info!(path = %path.display(), "ledger opened");
    Ok(Some(store))
}

/// Keeps the metrics of the month's money true.
async fn tell_month(ledger: spillway_store::Ledger, clock: UnixClock) {
    loop {
        let now = clock();
        let read = ledger.read(move |reader| Ok((reader.projection(now)?, reader.open_reservations()?)));
        match read.await {
            Ok((projection, open)) => {
                gauge!("spillway_month_spent_usd").set(projection.spent.as_dollars());
                gauge!("spillway_month_projected_usd").set(projection.projected.as_dollars());
                gauge!("spillway_open_reservations_usd").set(open.reserved.as_dollars());
            }
            Err(error) => tracing::warn!(%error, "the month's spend could not be summed"),
        }
        tokio::time::sleep(TELL_INTERVAL).await;
    }
}

/// Keeps a ledger in memory from growing without end.
async fn forget_old_calls(ledger: spillway_store::Ledger, clock: UnixClock) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        let kept_ms = i64::try_from(KEPT_IN_MEMORY.as_millis()).unwrap_or(i64::MAX);
        if let Err(error) = ledger.prune(clock().plus_ms(-kept_ms)).await {
            tracing::warn!(%error, "old calls stay in memory");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the ledger's rows are told in wall-clock time")]
pub(super) fn unix_clock() -> UnixClock {
    use std::time::{SystemTime, UNIX_EPOCH};
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Opens the public port, and the administrators' if there is one.
async fn open_ports(
    config: &ServeConfig,
    state: &AppState,
    tls: Option<&Arc<Tls>>,
) -> anyhow::Result<Vec<Port>> {
    let http = &config.http;
    let mut ports = Vec::with_capacity(2);
    if let Some(admin) = &http.admin {
        let service = http::admin_service(state.clone());
        let port = Port::open(admin, "--admin-host, --admin-port", service, tls.cloned(), http).await?;
        tracing::info!(address = port.url()?, "listening for administrators");
        ports.push(port);
    }
    let service = http::service(state.clone());
    let port = Port::open(&http.public, "--host, --port", service, tls.cloned(), http).await?;
    let keys = config.security.api_keys.as_ref().map_or(0, ApiKeys::len);
    tracing::info!(address = port.url()?, keys, "listening");
    ports.push(port);
    Ok(ports)
}

pub(super) fn http_limits(config: &HttpConfig) -> HttpLimits {
    HttpLimits {
        max_body: config.max_body,
        max_concurrent_requests: config.max_concurrent_requests,
        request_timeout: config.request_timeout,
        client_timeout: config.client_timeout,
    }
}

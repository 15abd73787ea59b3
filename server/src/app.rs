//! The composition root: from a checked config to a running server, top to bottom.

mod bench;
mod check;
mod closing;
mod device;
mod engine;
#[cfg(feature = "fault-injection")]
mod faults;
#[cfg(feature = "cuda")]
mod gpu_selftest;
mod listen;
mod logging;
mod memory;
mod prometheus;
mod watchdog;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use arc_swap::ArcSwap;
use spillway_backends::LocalBackend;
use spillway_models::ModelSource;
use spillway_router::{Backend, BackendError, Router, RouterParts};
use spillway_types::{Prompt, TokenId};

use crate::config::{ApiKeys, Command, CutModel, HttpConfig, LogConfig, ModelChoice, ServeConfig};
use crate::http::{
    self, AppState, HttpLimits, HttpParts, Lifecycle, MetricsPlace, ModelText, Routing, ServedModel,
    WallClock,
};
use crate::model_store::{self, Pulled};
use crate::routing::{NoLedger, RouterMetrics, TokioRuntime};
use closing::{Closing, EngineLeft};
use device::DeviceError;
use listen::{Port, Tls};
use watchdog::Watchdog;

/// Time between the comments that keep an idle stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Does what the user wants.
///
/// # Errors
///
/// Whatever keeps it from being done, with the causes.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config, source: _ } => serve(&config),
        Command::Pull(choice) => {
            logging::start(&LogConfig::default())?;
            match model_store::pull(&choice)? {
                Pulled::AlreadyThere(path) => println!("{} is there and whole", path.display()),
                Pulled::Fetched(path) => println!("fetched {}", path.display()),
            }
            Ok(())
        }
        Command::Bench(bench) => bench::run(bench),
        #[cfg(feature = "cuda")]
        Command::GpuSelftest(options) => gpu_selftest::run(&options),
        #[cfg(not(feature = "cuda"))]
        Command::GpuSelftest(options) => Ok(device::find_gpu(options.ordinal).map(drop)?),
        Command::GpuReport(report) => spillway_bench::gpu_report::run(&report.folder),
        Command::CutModel(cut) => cut_model(&cut),
        Command::Check { config, effective, form } => {
            check::run(&check::Check { config: &config, effective: &effective, form })
        }
    }
}

/// Writes a model's first layers to a file of their own. A file that is there already is somebody's, and stays.
fn cut_model(cut: &CutModel) -> anyhow::Result<()> {
    let CutModel { source, target, layers } = cut;
    let bytes = spillway_models::cut_layers(source, *layers).context("--layers")?;
    let written = File::create_new(target).and_then(|mut file| file.write_all(&bytes));
    written.with_context(|| format!("{} cannot be written", target.display()))?;
    println!("{}: {layers} layers, {} bytes", target.display(), bytes.len());
    Ok(())
}

/// Loads the model, starts the engine, and serves until a signal comes.
fn serve(config: &ServeConfig) -> anyhow::Result<()> {
    logging::start(&config.log)?;
    let metrics = prometheus::start()?;
    let clock = wall_clock();
    let settings = config.engine.as_ref().context("no local model is named: give --model")?;
    let device = device::find(settings)?;
    let source = model_source(&settings.model.choice)?;
    let engine::Started { handle, thread, defaults, clock: engine_clock, work: _ } =
        engine::start(settings, device, &source, &clock)?;

    let listed = config.routing.backends.iter().find(|backend| backend.is_local());
    let local_id = listed.context("no backend is local")?.id.clone();
    let local = Arc::new(LocalBackend::new(local_id, handle.clone()));
    let (router_runtime, _tasks) = TokioRuntime::start();
    let router = Router::new(RouterParts {
        backends: vec![Arc::clone(&local) as Arc<dyn Backend>],
        routes: config.routing.routes.clone(),
        settings: config.routing.settings.clone(),
        runtime: Arc::new(router_runtime),
        ledger: Arc::new(NoLedger),
        observer: Arc::new(RouterMetrics),
        gain: None,
        memory: Arc::default(),
    })?;
    let lifecycle = Lifecycle::default();
    let model = ServedModel {
        id: handle.card().id.clone(),
        aliases: settings.model.aliases.clone(),
        created: clock(),
        max_model_len: Some(handle.card().max_model_len),
        defaults,
        text: Some(local),
    };
    let state = AppState::new(HttpParts {
        routing: ArcSwap::from_pointee(Routing {
            router,
            models: vec![model],
            api_keys: config.security.api_keys.clone(),
            content_rules: config.routing.content_rules.clone(),
        }),
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

    let runtime = runtime()?;
    let tls = config.security.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
    let ports = runtime.block_on(open_ports(config, state, tls.as_ref()))?;
    let _watchdog = Watchdog::start(handle, lifecycle.clone(), settings.scheduler.watchdog_timeout)
        .context("the watchdog's thread could not be started")?;
    let closing =
        Closing { lifecycle, engine: thread, engine_clock, drain_timeout: config.http.drain_timeout };
    let served = runtime.block_on(closing::serve(ports, tls, closing, metrics));
    // It may hold a thread that waits for a step which never ends.
    runtime.shutdown_background();
    served
}

/// Opens the public port, and the administrators' if there is one.
async fn open_ports(
    config: &ServeConfig,
    state: AppState,
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
    let port = Port::open(&http.public, "--host, --port", http::service(state), tls.cloned(), http).await?;
    let keys = config.security.api_keys.as_ref().map_or(0, ApiKeys::len);
    tracing::info!(address = port.url()?, keys, "listening");
    ports.push(port);
    Ok(ports)
}

fn http_limits(config: &HttpConfig) -> HttpLimits {
    HttpLimits {
        max_body: config.max_body,
        max_concurrent_requests: config.max_concurrent_requests,
        request_timeout: config.request_timeout,
        client_timeout: config.client_timeout,
    }
}

/// The exit code that an error of [`run`] calls for: 3 if the device that was asked for cannot be used, 4 if the engine
/// hung or broke, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<EngineLeft>() {
        watchdog::EXIT_ENGINE
    } else if error.is::<DeviceError>() {
        device::EXIT_NO_DEVICE
    } else {
        1
    }
}

fn model_source(choice: &ModelChoice) -> anyhow::Result<ModelSource> {
    let path = model_store::locate(choice)?;
    ModelSource::from_path(&path).with_context(|| format!("--model {}", path.display()))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime's threads could not be started")
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock enters the server")]
fn wall_clock() -> WallClock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

impl ModelText for LocalBackend {
    fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, BackendError> {
        LocalBackend::tokenize(self, prompt)
    }

    fn detokenize(&self, tokens: &[TokenId]) -> Result<String, BackendError> {
        LocalBackend::detokenize(self, tokens)
    }
}

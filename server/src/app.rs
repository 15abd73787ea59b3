//! The composition root: from a checked config to a running server, top to bottom.

mod engine;
mod listen;
mod logging;
mod memory;
mod prometheus;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use spillway_backends::LocalBackend;
use spillway_models::ModelSource;
use spillway_router::{Backend, BackendError, BackendId, Router};
use spillway_types::{Prompt, TokenId};

use crate::config::{BenchCommand, Command, LogConfig, ModelChoice, ServeConfig};
use crate::http::{self, AppState, HttpParts, Lifecycle, ModelText, ServedModel, WallClock};
use crate::model_store::{self, Pulled};

/// The name of the engine in this process among the backends.
const LOCAL_BACKEND: &str = "local";
/// Time between the comments that keep an idle stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Does what the user wants.
///
/// # Errors
///
/// Whatever keeps it from being done, with the causes.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(config) => serve(&config),
        Command::Pull(choice) => {
            logging::start(&LogConfig::default())?;
            match model_store::pull(&choice)? {
                Pulled::AlreadyThere(path) => println!("{} is there and whole", path.display()),
                Pulled::Fetched(path) => println!("fetched {}", path.display()),
            }
            Ok(())
        }
        Command::Bench(BenchCommand::Serve(args)) => runtime()?.block_on(spillway_bench::serve::run(args)),
    }
}

/// Loads the model, starts the engine, and serves until a signal comes.
fn serve(config: &ServeConfig) -> anyhow::Result<()> {
    logging::start(&config.log)?;
    let metrics = prometheus::start()?;
    let clock = wall_clock();
    let source = model_source(&config.model.choice)?;
    let engine::Started { handle, thread, defaults, clock: engine_clock } =
        engine::start(config, &source, &clock)?;

    let local = Arc::new(LocalBackend::new(BackendId::new(LOCAL_BACKEND), handle.clone()));
    let router = Router::new(vec![Arc::clone(&local) as Arc<dyn Backend>])?;
    let lifecycle = Lifecycle::default();
    let model = ServedModel {
        id: handle.card().id.clone(),
        aliases: config.model.aliases.clone(),
        created: clock(),
        max_model_len: handle.card().max_model_len,
        defaults,
        text: local,
    };
    let service = http::service(AppState::new(HttpParts {
        router,
        models: vec![model],
        max_body: config.http.max_body,
        keep_alive: KEEP_ALIVE,
        metrics: metrics.clone(),
        clock,
        lifecycle: lifecycle.clone(),
    }));

    let closing =
        listen::Closing { lifecycle, engine: thread, engine_clock, drain_timeout: config.http.drain_timeout };
    runtime()?.block_on(listen::serve(service, &config.http, closing, metrics))
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

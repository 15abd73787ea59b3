//! The composition root: from a checked config to a running server, top to bottom.

mod bench;
mod check;
mod closing;
mod compose;
mod device;
mod engine;
#[cfg(feature = "fault-injection")]
mod faults;
#[cfg(feature = "cuda")]
mod gpu_selftest;
mod ledger;
mod listen;
mod logging;
mod memory;
mod prometheus;
mod reload;
mod route;
mod serve;
mod watchdog;

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use spillway_backends::LocalBackend;
use spillway_models::ModelSource;
use spillway_router::BackendError;
use spillway_types::{Prompt, TokenId};

use crate::config::{self, Command, CutModel, LogConfig, ModelChoice};
use crate::http::{ModelText, WallClock};
use crate::model_store::{self, Pulled};
use closing::EngineLeft;
use device::DeviceError;

/// Longest input that is read for a key.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Does what the user wants.
///
/// # Errors
///
/// Whatever keeps it from being done, with the causes.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config, source } => serve::serve(*config, source),
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
        Command::HashKey => hash_key(),
        Command::Ledger(report) => ledger::run(&report),
        Command::Route(command) => route::run(&command),
        Command::Check { config, effective, form } => {
            check::run(&check::Check { config: &config, effective: &effective, form })
        }
    }
}

/// Reads a key, and prints what stands for it.
fn hash_key() -> anyhow::Result<()> {
    let mut key = String::new();
    let mut input = std::io::stdin().lock().take(MAX_KEY_BYTES);
    input.read_line(&mut key).context("no key could be read from standard input")?;
    println!("{}", config::hash_key(key.trim_end_matches(['\r', '\n']))?);
    Ok(())
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

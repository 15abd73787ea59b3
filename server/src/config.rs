//! Config: flags, file and environment in; checked values out.
//!
//! Layers, each over the one before: defaults, the file of `--config`, flags. A flag and its key in the file have one
//! name and one definition, in `config/raw.rs`. This is the only place that reads the environment.
//!
//! In a request's path: not at all; read once at start.

mod api_keys;
mod backends;
mod cli;
mod content_rules;
mod device;
mod document;
mod dollars;
mod engine;
mod environment;
#[cfg(feature = "fault-injection")]
mod faults;
mod file_keys;
mod hub;
mod key_error;
mod named_keys;
mod names;
mod prices;
mod raw;
mod router;
mod routes;
mod routing;
mod serve;
mod server;
mod size;
mod source;
mod store;
mod time_span;

use std::path::PathBuf;

use environment::Environment;

pub use api_keys::{ApiKeys, ClientKey, hash_key};
pub use backends::{
    BackendConfig, BackendKind, BedrockSettings, Dialect, FeatureChanges, JsonSchemaBy, OpenAiSettings,
    ReasoningBy, RemoteTerms, Timeouts, ToolChoiceUpTo,
};
pub use cli::{
    BenchCommand, CheckForm, Command, CutModel, ExplainedBy, GpuReport, GpuSelftest, LedgerReport,
    RouteCommand, RouteEval, RouteExplain, RouteTrain, SelftestShapes, flags_markdown, parse,
};
pub use device::{BatchInvariance, CudaGraphs, DeviceChoice, DeviceConfig, GpuSettings, KernelOverlap};
pub use document::KeyPath;
pub use engine::{EngineSettings, ModelChoice, ModelConfig, SchedulerSettings};
#[cfg(feature = "fault-injection")]
pub use faults::{Fault, StepFault};
pub use file_keys::file_keys_markdown;
pub use hub::{HubAccess, HubConfig, HubFiles, HubId, HubModel, HubToken};
pub use key_error::{KeyError, Problem};
pub use prices::PriceOrigin;
pub use raw::Secret;
pub use routing::RoutingConfig;
pub use serve::{LogConfig, LogFormat, ServeConfig};
pub use server::{Address, HttpConfig, SecurityConfig, TlsConfig};
pub use size::{ByteSize, InvalidSize};
pub use source::{ConfigSource, Reread};
pub use store::StorePlace;
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
    /// The parser's own error is not kept: it shows the line, which may hold a key.
    #[error("config file {}, {message}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// In which line, counted from 1, why, and at which key.
        message: String,
    },
    /// A value of the file, with its place.
    #[error("config file {}{}: {problem}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    InFile {
        /// Which file.
        path: PathBuf,
        /// In which line, counted from 1; absent if what is wrong is that something is not there.
        line: Option<usize>,
        /// What is wrong.
        problem: Box<ConfigError>,
    },
    /// A key of a section that only the file has.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// File and flags could not be put together.
    #[error("config could not be put together: {message}")]
    Layers {
        /// Why.
        message: String,
    },
    /// No model was named, and nobody else serves.
    #[error(
        "no model is named: give --model a .gguf file, a folder with config.json, owner/name of a hub, or `demo`; \
         or [[backends]] in the config file"
    )]
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
    /// Only one half of what TLS needs.
    #[error("--{given} is given without --{missing}: TLS needs both")]
    TlsHalf {
        /// The flag that is there.
        given: &'static str,
        /// The flag that is not.
        missing: &'static str,
    },
    /// The file of keys could not be read.
    #[error("--api-key-file {} could not be read", path.display())]
    KeysUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file of keys has none, which would open the server to all.
    #[error("--api-key-file {} has no key: write one a line, or leave the flag out", path.display())]
    NoKeys {
        /// Which file.
        path: PathBuf,
    },
    /// A key that no header could carry. It is not shown.
    #[error(
        "API key {number} must be visible ASCII without spaces, and not empty (--api-key, then SPILLWAY_API_KEY, then --api-key-file)"
    )]
    BadKey {
        /// Which one, counted from 1 over all sources.
        number: usize,
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
    /// A variable of the environment cannot be followed.
    #[error("{name} is `{value}`, must be {expected}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be, in words.
        expected: &'static str,
    },
    /// Only repositories of a hub have revisions.
    #[error("--revision is `{revision}`, but `{model}` is no repository of a hub: leave it out")]
    RevisionOfPath {
        /// What was named as the model.
        model: String,
        /// The revision.
        revision: String,
    },
    /// The revision is given twice, and differently.
    #[error("the model's id says revision `{in_id}`, --revision says `{revision}`: give one of them")]
    TwoRevisions {
        /// After the id's `@`.
        in_id: String,
        /// Of the flag.
        revision: String,
    },
    /// What was to be fetched is a path.
    #[error("`{model}` is a path, there is nothing to fetch: name owner/name of a hub, or `demo`")]
    PullPath {
        /// What was named as the model.
        model: String,
    },
    /// There is no place for a hub's repositories.
    #[error("there is no folder for the hub's repositories: set HF_HOME, XDG_CACHE_HOME or HOME")]
    NoHubCache,
    /// The config keeps its ledger in no file.
    #[error("config file {} keeps its calls in memory: give --path, or set [store] path to a file", config.display())]
    NoLedgerFile {
        /// Which config.
        config: PathBuf,
    },
    /// There is no place for downloaded models.
    #[error("there is no cache folder: set SPILLWAY_CACHE, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
}

impl ConfigError {
    /// The flag that is to be changed, if it is one.
    fn flag(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { flag, .. } => Some(flag),
            Self::TlsHalf { given, .. } => Some(given),
            Self::KeysUnreadable { .. } | Self::NoKeys { .. } => Some("api-key-file"),
            Self::StepTooSmall { .. } => Some("max-num-batched-tokens"),
            Self::RevisionOfPath { .. } | Self::TwoRevisions { .. } => Some("revision"),
            Self::Unreadable { .. }
            | Self::Malformed { .. }
            | Self::InFile { .. }
            | Self::Key(_)
            | Self::Layers { .. }
            | Self::NoModel
            | Self::BadKey { .. }
            | Self::Variable { .. }
            | Self::PullPath { .. }
            | Self::NoLedgerFile { .. }
            | Self::NoHubCache
            | Self::NoCacheFolder => None,
        }
    }
}

fn out_of_range(flag: &'static str, value: impl std::fmt::Display, expected: &'static str) -> ConfigError {
    ConfigError::OutOfRange { flag, value: value.to_string(), expected }
}

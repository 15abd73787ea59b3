//! The flags of `spillway route`.

use std::path::PathBuf;

use crate::config::{ConfigError, ConfigSource, Environment, ServeConfig};

/// What to do with routes, or with the model that predicts gains.
#[derive(Debug)]
pub enum RouteCommand {
    /// Say where requests would go, and why.
    Explain(RouteExplain),
    /// Train the model that tells hard prompts.
    Train(RouteTrain),
    /// Judge that model.
    Eval(RouteEval),
}

/// The same as written.
#[derive(Debug, clap::Subcommand)]
pub(super) enum RawRouteCommand {
    /// Say where requests would go, and why, with every candidate: by a running server, which knows its load, or by a config
    /// file alone, where a local model counts as idle. Nothing is loaded, served or spent.
    Explain(Box<RawRouteExplain>),
    /// Train the model that tells hard prompts, on labelled logs, and say how it does on prompts it has not seen.
    Train(RouteTrain),
    /// Judge that model on labelled logs, beside random, prompt length and the oracle. A log it was trained on flatters it.
    Eval(RouteEval),
}

/// A training.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct RouteTrain {
    /// The file that the model is written to; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Decides folds and trees: the same logs and seed give the same model.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// How often every prompt is scored by models that have not seen it, each time with other folds, 1 to 100: more give
    /// steadier figures and thresholds, and take as much longer.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Labelled logs: a line is an object with prompt, `weak_correct` and `strong_correct`; other fields are ignored.
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct RouteEval {
    /// Print a JSON array, one object a log, instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Also measure how long one decision takes: a thousand, of a prompt of about 500 tokens.
    #[arg(long)]
    pub time: bool,
    /// A model written by `spillway route train`, instead of the one in this program.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Labelled logs, as for `spillway route train`.
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,
}

/// Requests whose way is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct RawRouteExplain {
    /// TOML file, as for `spillway serve`: by it alone, and not by a running server.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// The server that is asked: its administrators' port, if it has one.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    url: String,
    /// File whose first key is shown.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// As the header x-spillway-privacy: private or standard.
    #[arg(long, value_name = "LABEL")]
    privacy: Option<String>,
    /// As the header x-spillway-max-cost-usd.
    #[arg(long, value_name = "DOLLARS")]
    max_cost_usd: Option<String>,
    /// As the header x-spillway-slo-ttft-ms.
    #[arg(long, value_name = "MILLISECONDS")]
    slo_ttft_ms: Option<String>,
    /// As the header x-spillway-session.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// As the header x-spillway-tags.
    #[arg(long, value_name = "TAGS")]
    tags: Option<String>,
    /// Print a JSON array, one explanation a request, instead of lines.
    #[arg(long)]
    json: bool,
    /// The body of a chat or completion request, or one a line.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Requests whose way is asked for.
#[derive(Debug)]
pub struct RouteExplain {
    /// Who decides.
    pub by: ExplainedBy,
    /// File whose first key is shown.
    pub api_key_file: Option<PathBuf>,
    /// As the header x-spillway-privacy.
    pub privacy: Option<String>,
    /// As the header x-spillway-max-cost-usd.
    pub max_cost_usd: Option<String>,
    /// As the header x-spillway-slo-ttft-ms.
    pub slo_ttft_ms: Option<String>,
    /// As the header x-spillway-session.
    pub session: Option<String>,
    /// As the header x-spillway-tags.
    pub tags: Option<String>,
    /// Whether JSON is printed.
    pub json: bool,
    /// The requests.
    pub file: PathBuf,
}

/// Who decides.
#[derive(Debug)]
pub enum ExplainedBy {
    /// A running server.
    Server {
        /// Where it is.
        url: String,
    },
    /// A config alone.
    Config(Box<ServeConfig>),
}

impl RawRouteCommand {
    pub(super) fn read(self, environment: &Environment) -> Result<RouteCommand, ConfigError> {
        Ok(match self {
            Self::Explain(raw) => RouteCommand::Explain(RouteExplain {
                by: match raw.config {
                    None => ExplainedBy::Server { url: raw.url },
                    Some(path) => {
                        ExplainedBy::Config(Box::new(ConfigSource::of_file(path, environment).read()?))
                    }
                },
                api_key_file: raw.api_key_file,
                privacy: raw.privacy,
                max_cost_usd: raw.max_cost_usd,
                slo_ttft_ms: raw.slo_ttft_ms,
                session: raw.session,
                tags: raw.tags,
                json: raw.json,
                file: raw.file,
            }),
            Self::Train(train) => RouteCommand::Train(train),
            Self::Eval(eval) => RouteCommand::Eval(eval),
        })
    }
}

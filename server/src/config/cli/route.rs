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
    /// Say where requests would go by a config file, and why, with every candidate. Nothing is loaded, asked or spent: a
    /// local model counts as idle. A running server tells of its load, too: POST /admin/route/explain.
    Explain(RawRouteExplain),
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
    /// TOML file, as for `spillway serve`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A header of the requests, as in `x-spillway-privacy: private`; give it again for more.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Bodies of chat or completion requests, one in each file.
    #[arg(value_name = "REQUEST", required = true)]
    requests: Vec<PathBuf>,
}

/// Requests whose way is asked for, and by which config.
#[derive(Debug)]
pub struct RouteExplain {
    /// By which they would be served.
    pub config: Box<ServeConfig>,
    /// Their headers.
    pub headers: Vec<(String, String)>,
    /// Files of their bodies.
    pub requests: Vec<PathBuf>,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("must be a name, a colon and a value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl RawRouteCommand {
    pub(super) fn read(self, environment: &Environment) -> Result<RouteCommand, ConfigError> {
        Ok(match self {
            Self::Explain(RawRouteExplain { config, headers, requests }) => {
                let config = Box::new(ConfigSource::of_file(config, environment).read()?);
                RouteCommand::Explain(RouteExplain { config, headers, requests })
            }
            Self::Train(train) => RouteCommand::Train(train),
            Self::Eval(eval) => RouteCommand::Eval(eval),
        })
    }
}

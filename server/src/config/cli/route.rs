//! The flags of `spillway route`.

use std::path::PathBuf;

/// What to do with the model that predicts gains.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum RouteCommand {
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

//! The flags of `spillway bench serve`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::{Args as ClapArgs, ValueEnum};

use crate::dataset::Format;
use crate::goodput::Objective;
use crate::output_args::OutputArgs;
use crate::random_words::PromptShape;

/// Measure a running server: tokens per second and latencies, as its clients see them. Any server that speaks OpenAI's
/// protocol can be measured.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Base address of the server, without /v1.
    #[arg(long, alias = "url", value_name = "ADDRESS", default_value = "http://127.0.0.1:8000")]
    pub base_url: String,
    /// Name of the model; the first of /v1/models if absent.
    #[arg(long)]
    pub model: Option<String>,
    /// Key sent as `Authorization: Bearer`.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Endpoint to measure.
    #[arg(long, value_enum, default_value_t = Endpoint::Chat)]
    pub endpoint: Endpoint,
    /// Closed loop: clients that each send their next request when the last one ended; several loads, by commas, run in
    /// turn.
    #[arg(long, value_name = "CLIENTS", value_delimiter = ',', default_values_t = [8], conflicts_with = "request_rate")]
    pub concurrency: Vec<usize>,
    /// Open loop instead: requests per second, sent whether the server keeps up or not, `inf` for all at once; several
    /// loads, by commas, run in turn. Times count from the moment at which a request was planned to be sent.
    #[arg(long, alias = "rate", value_name = "PER_SECOND", value_delimiter = ',')]
    pub request_rate: Vec<RequestRate>,
    /// How requests of an open loop are spread.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// Shape of the gaps between Poisson arrivals: 1 is a Poisson process, less is burstier, more is more even.
    #[arg(long, value_name = "SHAPE", default_value_t = 1.0)]
    pub burstiness: f64,
    /// Requests of each load; 4 for each client, 10 seconds' worth of the rate, or 100 at once, if absent.
    #[arg(long, value_name = "COUNT")]
    pub num_requests: Option<usize>,
    /// Requests sent one by one before each load, not counted.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub num_warmups: usize,
    /// File of prompts, instead of random words. Loads take turns through it; a prompt that comes again may be found in the
    /// server's prefix cache.
    #[arg(long, value_name = "FILE")]
    pub dataset: Option<PathBuf>,
    /// Form of the dataset; by its name if absent: .json is sharegpt, .jsonl is jsonl, any other lines.
    #[arg(long, value_enum, requires = "dataset")]
    pub dataset_format: Option<Format>,
    /// Words of each random prompt's own part: about as many tokens.
    #[arg(long, value_name = "WORDS", default_value_t = 100)]
    pub input_words: usize,
    /// Words that all random prompts of a load share as their beginning.
    #[arg(long, value_name = "WORDS", default_value_t = 0)]
    pub shared_prefix_words: usize,
    /// Tokens to generate for each request; a dataset's own number wins.
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub max_tokens: u32,
    /// Let the model end its answers; by default `ignore_eos` keeps all answers at --max-tokens.
    #[arg(long)]
    pub respect_eos: bool,
    /// Sampling temperature.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// Seed of prompts and arrival times.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Give up on a request after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout_secs: u64,
    /// What was promised: ttft, tpot (mean time per token), itl (longest time between two pieces) or e2e, each with its
    /// limit. Goodput counts the requests that keep all.
    #[arg(long, value_name = "METRIC:TIME", num_args = 1..)]
    pub goodput: Vec<Objective>,
    /// What is told, and where.
    #[command(flatten)]
    pub told: OutputArgs,
    /// Write a report with plots of latency and throughput against load to this file, as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// How requests of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At random, with gaps as --burstiness shapes them.
    Poisson,
    /// Evenly.
    Constant,
}

/// How fast an open loop sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RequestRate {
    /// So many requests a second.
    PerSecond(f64),
    /// All at once.
    Unlimited,
}

impl FromStr for RequestRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "inf" {
            return Ok(Self::Unlimited);
        }
        let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
        rate.map(Self::PerSecond)
            .ok_or_else(|| format!("rate is `{text}`, must be above 0 requests per second, or inf"))
    }
}

impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => write!(f, "{rate}"),
            Self::Unlimited => f.write_str("inf"),
        }
    }
}

impl Args {
    /// Refuses values that make no load.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.request_rate.is_empty() && self.concurrency.contains(&0) {
            bail!("--concurrency is 0, must be at least 1");
        }
        if !(self.burstiness.is_finite() && self.burstiness > 0.0) {
            bail!("--burstiness is {}, must be above 0", self.burstiness);
        }
        if self.num_requests == Some(0) {
            bail!("--num-requests is 0, must be at least 1");
        }
        if self.input_words + self.shared_prefix_words == 0 {
            bail!("--input-words and --shared-prefix-words are both 0, the prompt needs at least one word");
        }
        if self.max_tokens == 0 {
            bail!("--max-tokens is 0, must be at least 1");
        }
        Ok(())
    }

    /// How long random prompts are.
    pub(super) fn shape(&self) -> PromptShape {
        PromptShape { shared_words: self.shared_prefix_words, own_words: self.input_words }
    }
}

//! The flags of `spillway bench serve`.

use anyhow::bail;
use clap::{Args as ClapArgs, ValueEnum};

/// Measure a running server: tokens per second and latencies, as its clients see them.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Base address of the server, without /v1.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    pub url: String,
    /// Name of the model; the first of /v1/models if absent.
    #[arg(long)]
    pub model: Option<String>,
    /// Key sent as `Authorization: Bearer`.
    #[arg(long)]
    pub api_key: Option<String>,
    /// Endpoint to measure.
    #[arg(long, value_enum, default_value_t = Endpoint::Chat)]
    pub endpoint: Endpoint,
    /// Clients that each send their next request when the last one ended; several levels, by commas, run in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [8], conflicts_with = "rate")]
    pub concurrency: Vec<usize>,
    /// Requests per second at random (Poisson) times instead; several rates, by commas, run in turn.
    #[arg(long, value_delimiter = ',')]
    pub rate: Vec<f64>,
    /// Requests of each level; 4 for each client, or 10 seconds' worth of the rate, if absent.
    #[arg(long)]
    pub num_requests: Option<usize>,
    /// Requests sent one by one before each level, not counted.
    #[arg(long, default_value_t = 1)]
    pub num_warmups: usize,
    /// Words of each prompt's own part: about as many tokens.
    #[arg(long, default_value_t = 100)]
    pub input_words: usize,
    /// Words that all prompts of a level share as their beginning.
    #[arg(long, default_value_t = 0)]
    pub shared_prefix_words: usize,
    /// Tokens to generate for each request.
    #[arg(long, default_value_t = 128)]
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
    #[arg(long, default_value_t = 600)]
    pub timeout_secs: u64,
    /// Print one JSON object for each level instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

impl Args {
    /// Refuses values that make no load.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.rate.is_empty() && self.concurrency.contains(&0) {
            bail!("--concurrency is 0, must be at least 1");
        }
        if let Some(rate) = self.rate.iter().find(|rate| !(rate.is_finite() && **rate > 0.0)) {
            bail!("--rate is {rate}, must be above 0 requests per second");
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
}

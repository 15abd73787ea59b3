//! The flags of `spillway bench gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::stats::Rank;

/// Measure what a gateway adds to a request: beside a mock server that answers at once, asked directly. The gateway must
/// have a backend, for the model of --model, at the mock's address, `http://127.0.0.1:9100` unless --mock says otherwise.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Base address of the gateway, without /v1; plain HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8000")]
    pub url: String,
    /// Name of the model that the gateway passes on to the mock.
    #[arg(long, default_value = "mock")]
    pub model: String,
    /// Key sent to the gateway as `Authorization: Bearer`.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Where the mock listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9100")]
    pub mock: SocketAddr,
    /// Requests per second; several, by commas, are measured in turn.
    #[arg(long, value_name = "PER_SECOND", value_delimiter = ',', default_values_t = [2000], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Vec<u32>,
    /// How long each side is asked in each round.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub duration_secs: u64,
    /// How long each side is asked before, not counted.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub warmup_secs: u64,
    /// Rounds of mock and gateway in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How answers are asked for.
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    pub mode: Mode,
    /// Most requests under way; those beyond wait, and their waiting counts.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: u32,
    /// Length of the prompt.
    #[arg(long, value_name = "BYTES", default_value_t = 1000)]
    pub prompt_bytes: usize,
    /// Pieces of a streamed answer.
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub stream_tokens: u32,
    /// Process of the gateway, whose processor time and memory are told; give it again for each of its processes.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// How long the gateway may take until its first good answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub patience_secs: u64,
    /// Percentiles to tell.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = default_ranks())]
    pub percentiles: Vec<Rank>,
    /// Print one JSON object for each rate and mode instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write the whole result to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How answers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// In one piece.
    Whole,
    /// As server-sent events.
    Streamed,
    /// Each in turn.
    Both,
}

impl Args {
    /// What is measured in turn.
    pub(super) fn modes(&self) -> &'static [Mode] {
        match self.mode {
            Mode::Whole => &[Mode::Whole],
            Mode::Streamed => &[Mode::Streamed],
            Mode::Both => &[Mode::Whole, Mode::Streamed],
        }
    }
}

fn default_ranks() -> Vec<Rank> {
    ["50", "90", "99", "99.9"].iter().filter_map(|rank| rank.parse().ok()).collect()
}

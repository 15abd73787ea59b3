//! What the parts of `scripts/gpu-check.sh` left in their folder. Only what the report needs is read.

use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spillway_kernels::DeviceRates;
use spillway_models::ModelWork;

/// Parts whose results are batches in an engine begin so; the rest of the name says what was set.
const LATENCY: &str = "latency-";

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// Date, commit, driver and what else tells runs from one another.
    pub(super) about: Map<String, Value>,
    pub(super) parts: Vec<Part>,
    /// What `spillway gpu-selftest` measured, and what it tried.
    pub(super) kernels: Value,
    pub(super) selftest: Value,
    /// By what was set.
    pub(super) latency: Vec<(String, Vec<Batch>)>,
    pub(super) serve: Vec<Load>,
    pub(super) start: Option<Start>,
    pub(super) peer: Option<Peer>,
}

/// A part of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: String,
    /// `ok`, `failed`, `skipped` or `not supported`.
    pub(super) outcome: String,
    pub(super) seconds: f64,
    /// Why, if it is not `ok`.
    #[serde(default)]
    pub(super) why: String,
}

/// Batches of one shape, of `spillway bench latency --json`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Batch {
    #[serde(rename = "batch_size")]
    pub(super) num_requests: u64,
    pub(super) input_len: u64,
    pub(super) output_len: u64,
    pub(super) step_ms: Option<f64>,
    pub(super) requests: Requests,
    pub(super) work: Option<ModelWork>,
}

/// Times of requests.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Requests {
    pub(super) ttft_ms: Option<Times>,
}

/// Of many times, the median.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Times {
    pub(super) p50: f64,
}

/// A load of `spillway bench serve`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Load {
    /// In words; ends with the number of clients.
    #[serde(rename = "load")]
    pub(super) label: String,
    pub(super) num_completed: u64,
    pub(super) num_failed: u64,
    pub(super) prompt_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) output_tokens_per_s: f64,
    pub(super) ttft_ms: Option<Times>,
    pub(super) itl_ms: Option<Times>,
}

#[derive(Deserialize)]
struct ServeReport {
    loads: Vec<Load>,
}

/// Seconds since the server's process was started.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Start {
    /// Until it listened.
    pub(super) listening_s: f64,
    /// Until a client had its first token.
    pub(super) first_token_s: f64,
}

/// What `scripts/gpu_peer.py` wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Peer {
    #[serde(default)]
    pub(super) versions: Map<String, Value>,
    /// Why there are no rows.
    pub(super) note: Option<String>,
    pub(super) rows: Vec<PeerRow>,
}

/// A step of the peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PeerRow {
    pub(super) kind: String,
    pub(super) batch_size: u64,
    /// Of the context, or of the prompt.
    pub(super) tokens: u64,
    pub(super) ms: Option<f64>,
    #[serde(default)]
    pub(super) how: String,
    pub(super) problem: Option<String>,
}

impl Inputs {
    /// Reads what is there.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let parts: Vec<Part> = lines(&folder.join("parts.jsonl"))?;
        let variants = parts.iter().filter_map(|part| part.name.strip_prefix(LATENCY));
        let latency = variants
            .map(|variant| {
                let batches = lines(&folder.join(format!("{LATENCY}{variant}.jsonl")))?;
                Ok((variant.to_owned(), batches))
            })
            .collect::<anyhow::Result<_>>()?;
        let serve: Option<ServeReport> = file(&folder.join("serve.json"))?;
        Ok(Self {
            about: file(&folder.join("about.json"))?.unwrap_or_default(),
            latency,
            kernels: file(&folder.join("kernels.json"))?.unwrap_or_default(),
            selftest: file(&folder.join("selftest.json"))?.unwrap_or_default(),
            serve: serve.map_or_else(Vec::new, |report| report.loads),
            start: file(&folder.join("start.json"))?,
            peer: file(&folder.join("peer.json"))?,
            parts,
        })
    }

    /// The device's rates, if they were measured.
    pub(super) fn rates(&self) -> Option<DeviceRates> {
        let rate = |name: &str| self.kernels["rates"][name].as_f64().filter(|rate| *rate > 0.0);
        Some(DeviceRates { bytes_per_s: rate("bytes_per_s")?, operations_per_s: rate("operations_per_s")? })
    }

    /// Why a variant has no rows, if its part says so.
    pub(super) fn problem(&self, variant: &str) -> Option<&Part> {
        let is_it = |part: &&Part| part.name.strip_prefix(LATENCY) == Some(variant);
        self.parts.iter().find(is_it).filter(|part| part.outcome != "ok")
    }
}

/// A JSON file, if it is there and not empty: a part that failed may leave an empty one.
fn file<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match text(path)? {
        text if text.trim().is_empty() => Ok(None),
        text => Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?)),
    }
}

/// A file of JSON lines; other lines are what people read.
fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = text(path)?;
    let objects = text.lines().filter(|line| line.starts_with('{'));
    objects.map(|line| serde_json::from_str(line).with_context(|| path.display().to_string())).collect()
}

fn text(path: &Path) -> anyhow::Result<String> {
    if path.exists() {
        std::fs::read_to_string(path).with_context(|| path.display().to_string())
    } else {
        Ok(String::new())
    }
}

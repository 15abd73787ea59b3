//! Flags and keys as users write them: unchecked, and known to this folder only.
//!
//! One definition serves both: clap reads a flag of the field's name, serde a key. The help of `spillway serve` is
//! made of these comments; defaults stand in the `Default` of each section.

use std::num::NonZeroU32;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{ByteSize, TimeSpan};

mod backends;
mod device;
#[cfg(feature = "fault-injection")]
mod faults;
mod router;
mod routes;
mod security;
mod server;

pub(super) use backends::{
    RawBackend, RawBackendKind, RawBoundary, RawDialect, RawFeature, RawJsonSchema, RawPrice, RawReasoning,
    RawServiceTier, RawToolChoice,
};
pub(super) use device::RawDevice;
#[cfg(feature = "fault-injection")]
pub(super) use faults::RawFaults;
pub(super) use router::{RawBreaker, RawContentRule, RawKey, RawPrices, RawRouter, RawStore};
pub(super) use routes::{
    RawConfidence, RawPreference, RawPrivacy, RawRoute, RawShadow, RawSplitPart, RawStrong,
};
pub(super) use security::RawSecurity;
pub use security::Secret;
pub(super) use server::RawServer;

/// Everything that `spillway serve` can be told.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    #[command(flatten)]
    pub(super) model: RawModel,
    #[command(flatten)]
    pub(super) device: RawDevice,
    #[command(flatten)]
    pub(super) scheduler: RawScheduler,
    #[command(flatten)]
    pub(super) server: RawServer,
    #[command(flatten)]
    pub(super) security: RawSecurity,
    #[command(flatten)]
    pub(super) log: RawLog,
    #[cfg(feature = "fault-injection")]
    #[command(flatten)]
    pub(super) faults: RawFaults,
    // What follows stands in the file only.
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) backends: Vec<RawBackend>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) routes: Vec<RawRoute>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) router: RawRouter,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) content_rules: Vec<RawContentRule>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) keys: Vec<RawKey>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) store: RawStore,
    #[arg(skip)]
    #[serde(skip_serializing_if = "is_default")]
    pub(super) prices: RawPrices,
}

impl RawConfig {
    /// Puts a word for each secret, so that the rest can be shown.
    pub(super) fn hide_secrets(&mut self) {
        self.security.api_key.iter_mut().for_each(Secret::hide);
        self.backends.iter_mut().for_each(RawBackend::hide_secrets);
        self.keys.iter_mut().filter_map(|key| key.sha256.as_mut()).for_each(Secret::hide);
    }
}

/// Whether a value says nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[model]`: what is served.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Model: keys of [model] in the config file")]
pub(super) struct RawModel {
    /// Model to serve: a .gguf file, a folder with config.json and safetensors, a repository of a hub (owner/name,
    /// `owner/name:Q4_K_M`, owner/name/file.gguf, each with @revision if need be), or `demo`, which `spillway pull demo`
    /// fetches. What exists as a path is never looked for elsewhere.
    #[arg(long, value_name = "PATH|ID|demo")]
    pub(super) model: Option<String>,
    /// Branch, tag or commit of a hub's repository, if not given with @ in --model; main if absent.
    #[arg(long, value_name = "REVISION")]
    pub(super) revision: Option<String>,
    /// Names by which clients ask for the model, one or several: the first one stands in answers. The file's or
    /// folder's name, or the id on the hub, if absent.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    #[serde(deserialize_with = "one_or_several")]
    pub(super) served_model_name: Vec<String>,
    /// Type to compute with: auto takes each weight as it is in the file; f32 dequantises everything and is exact.
    #[arg(long, value_enum, default_value_t = RawModel::default().dtype)]
    pub(super) dtype: RawDtype,
    /// What the matrices of a float model are rounded to when they are loaded: int8, int4 (the last product int8) or, on a
    /// GPU, fp8. What a file has quantised stays as it is, and so do embeddings that are a matrix of their own.
    #[arg(long, value_enum, default_value_t = RawModel::default().quantization)]
    pub(super) quantization: RawQuantization,
    /// Whose code computes: spillway batches; candle runs one sequence at a time, as an oracle, on the CPU unless
    /// --device names a GPU and the binary was built with `candle-cuda`.
    #[arg(long, value_enum, default_value_t = RawModel::default().executor)]
    pub(super) executor: RawExecutor,
    /// Where weights come from: auto reads the model's files, dummy makes random ones of the same shape.
    #[arg(long, value_enum, default_value_t = RawModel::default().weights)]
    pub(super) weights: RawWeights,
    /// Seed of dummy weights.
    #[arg(long, default_value_t = RawModel::default().seed)]
    pub(super) seed: u64,
    /// Type of dummy weights.
    #[arg(long, value_enum, default_value_t = RawModel::default().dummy_weight_type)]
    pub(super) dummy_weight_type: RawWeightType,
}

impl Default for RawModel {
    fn default() -> Self {
        Self {
            model: None,
            revision: None,
            served_model_name: Vec::new(),
            dtype: RawDtype::Auto,
            quantization: RawQuantization::None,
            executor: RawExecutor::Spillway,
            weights: RawWeights::Auto,
            seed: 0,
            dummy_weight_type: RawWeightType::Bf16,
        }
    }
}

/// Reads a text or a list of texts.
fn one_or_several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a list of strings")]
    enum Names {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Several(names) => names,
    })
}

/// `[scheduler]`: how much one engine may hold.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Scheduler: keys of [scheduler]")]
pub(super) struct RawScheduler {
    /// Tokens that one block of the KV cache holds: a power of two from 1 to 256.
    #[arg(long, value_name = "TOKENS", default_value_t = RawScheduler::default().block_size)]
    pub(super) block_size: u32,
    /// Memory of the KV cache, as in 2GiB; if absent, what all sequences can use, but at most a quarter of the memory that
    /// is free once the weights are loaded.
    #[arg(long, value_name = "SIZE")]
    pub(super) kv_cache_memory: Option<ByteSize>,
    /// Type of the keys and values in the KV cache: auto is that of the weights on the CPU and bf16 on a GPU; bf16; fp8, of a
    /// GPU alone, is e4m3 without a scale (what is beyond 448 becomes 448), so that twice as many tokens fit.
    #[arg(long, value_enum, default_value_t = RawScheduler::default().kv_cache_dtype)]
    pub(super) kv_cache_dtype: RawKvCacheDtype,
    /// Most tokens of one step, prefill and decode together. Larger favours throughput, smaller favours the time between
    /// tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = RawScheduler::default().max_num_batched_tokens)]
    pub(super) max_num_batched_tokens: NonZeroU32,
    /// Most sequences that run at once; at most --max-num-batched-tokens.
    #[arg(long, value_name = "COUNT", default_value_t = RawScheduler::default().max_num_seqs)]
    pub(super) max_num_seqs: NonZeroU32,
    /// Most tokens of a prompt and its answer together; as many as the model was trained for if absent.
    #[arg(long, value_name = "TOKENS")]
    pub(super) max_model_len: Option<NonZeroU32>,
    /// Most requests that wait; beyond it, clients get 429 with Retry-After.
    #[arg(long, value_name = "COUNT", default_value_t = RawScheduler::default().max_waiting)]
    pub(super) max_waiting: NonZeroU32,
    /// Steps planned and not completed, 1 or 2: with 2, the next step is planned while one is computed.
    #[arg(long, value_name = "COUNT", default_value_t = RawScheduler::default().max_in_flight_steps)]
    pub(super) max_in_flight_steps: NonZeroU32,
    /// Reuse the computed beginnings of earlier prompts.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = RawScheduler::default().enable_prefix_caching
    )]
    pub(super) enable_prefix_caching: bool,
    /// Time after which a waiting request rises by one class of priority.
    #[arg(long, value_name = "DURATION", default_value_t = RawScheduler::default().priority_ageing)]
    pub(super) priority_ageing: TimeSpan,
    /// Time that a step may take before /health reports it.
    #[arg(long, value_name = "DURATION", default_value_t = RawScheduler::default().step_timeout)]
    pub(super) step_timeout: TimeSpan,
    /// Time that a step may take before the process ends itself with exit code 4; at least --step-timeout.
    #[arg(long, value_name = "DURATION", default_value_t = RawScheduler::default().watchdog_timeout)]
    pub(super) watchdog_timeout: TimeSpan,
    /// Longest time that the prompts in line may take to compute, by the measured rate; beyond it, clients get 429 with
    /// Retry-After. Absent: no such limit.
    #[arg(long, value_name = "DURATION")]
    pub(super) max_queue_ttft: Option<TimeSpan>,
}

impl Default for RawScheduler {
    fn default() -> Self {
        Self {
            block_size: 16,
            kv_cache_memory: None,
            kv_cache_dtype: RawKvCacheDtype::Auto,
            max_num_batched_tokens: NonZeroU32::new(512).expect("not zero"),
            max_num_seqs: NonZeroU32::new(256).expect("not zero"),
            max_model_len: None,
            max_waiting: NonZeroU32::new(1024).expect("not zero"),
            max_in_flight_steps: NonZeroU32::new(2).expect("not zero"),
            enable_prefix_caching: true,
            priority_ageing: TimeSpan::from_secs(10),
            step_timeout: TimeSpan::from_secs(60),
            watchdog_timeout: TimeSpan::from_secs(300),
            max_queue_ttft: None,
        }
    }
}

/// `[log]`: what is written on standard error.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Log: keys of [log]")]
pub(super) struct RawLog {
    /// Form of the log's lines.
    #[arg(long, value_enum, default_value_t = RawLog::default().log_format)]
    pub(super) log_format: RawLogFormat,
    /// What is logged: a level, or levels by module, as in `info,spillway_engine=debug`.
    #[arg(long, value_name = "DIRECTIVES", default_value_t = RawLog::default().log_filter)]
    pub(super) log_filter: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { log_format: RawLogFormat::Text, log_filter: "info".to_owned() }
    }
}

/// Values of `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawDtype {
    Auto,
    F32,
    Bf16,
    F16,
}

/// Values of `--quantization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawQuantization {
    None,
    Int8,
    Int4,
    Fp8,
}

/// Values of `--kv-cache-dtype`, with the names that vLLM gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKvCacheDtype {
    Auto,
    #[serde(alias = "bfloat16")]
    #[value(alias = "bfloat16")]
    Bf16,
    #[serde(alias = "fp8_e4m3")]
    #[value(alias = "fp8_e4m3")]
    Fp8,
}

/// Values of `--executor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawExecutor {
    Spillway,
    Candle,
}

/// Values of `--weights`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWeights {
    Auto,
    Dummy,
}

/// Values of `--dummy-weight-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(super) enum RawWeightType {
    F32,
    Bf16,
    F16,
    #[serde(rename = "q4_0")]
    #[value(name = "q4_0")]
    Q40,
    #[serde(rename = "q4_1")]
    #[value(name = "q4_1")]
    Q41,
    #[serde(rename = "q5_0")]
    #[value(name = "q5_0")]
    Q50,
    #[serde(rename = "q5_1")]
    #[value(name = "q5_1")]
    Q51,
    #[serde(rename = "q8_0")]
    #[value(name = "q8_0")]
    Q80,
    #[serde(rename = "q2_k")]
    #[value(name = "q2_k")]
    Q2K,
    #[serde(rename = "q3_k")]
    #[value(name = "q3_k")]
    Q3K,
    #[serde(rename = "q4_k")]
    #[value(name = "q4_k")]
    Q4K,
    #[serde(rename = "q5_k")]
    #[value(name = "q5_k")]
    Q5K,
    #[serde(rename = "q6_k")]
    #[value(name = "q6_k")]
    Q6K,
}

/// Values of `--cpu-isa`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawIsa {
    Auto,
    Avx512,
    Avx2,
    Portable,
}

/// Values of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLogFormat {
    Text,
    Json,
}

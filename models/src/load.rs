//! From files to a model that can be run.
//!
//! In a request's path: not at all; called once at start by the composition root.

use std::num::NonZeroU32;
use std::path::Path;

use spillway_kernels::{DType, Device, Quantisation, WeightType};

use crate::arch::config_json::ConfigJson;
use crate::arch::{GgufForm, HfForm, WeightNames};
use crate::candle::{self, CandleModel};
use crate::decoder::{Decoder, DecoderWeights, WeightLoader};
use crate::dummy::DummyWeights;
use crate::error::ModelError;
use crate::kv_cache::{KvCacheType, KvLayout};
use crate::model::Model;
use crate::runner::RunnerLimits;
use crate::source::ModelSource;
use crate::spec::DecoderSpec;
use crate::tensor_source::TensorSource;
use crate::text_assets::TextAssets;
use crate::weights::{Int4Scheme, WeightStore};

mod footprint;
mod inspect;

pub use footprint::Place;
pub use inspect::{InspectOptions, Inspection, StoredTensors, inspect};

/// How a model is to be loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where it runs.
    pub device: Device,
    /// What it computes with.
    pub dtype: DtypePolicy,
    /// What float matrices are rounded to on the way; those that a file has quantised stay as they are.
    pub quantisation: Option<Quantisation>,
    /// Whose code computes.
    pub executor: ExecutorKind,
    /// Where its numbers come from.
    pub weights: WeightsKind,
    /// What its cache holds.
    pub kv_cache: KvCacheType,
    /// Most tokens of one step.
    pub max_num_batched_tokens: u32,
    /// Most rows of one step.
    pub max_num_seqs: u32,
    /// Most positions of one sequence; those that the model was trained for if absent.
    pub max_model_len: Option<u32>,
}

/// The type that weights are computed with, and that keys and values are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtypePolicy {
    /// Each weight as it is in the file; the cache in f16 if most numbers are quantised, else in the type of most.
    Auto,
    /// Everything in f32; quantised weights are dequantised. The exact mode.
    F32,
    /// Weights and cache in bf16.
    Bf16,
    /// Weights and cache in f16.
    F16,
}

/// Whose code computes the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorKind {
    /// The decoder of this crate.
    Native,
    /// candle-transformers, one sequence at a time: the oracle.
    Candle(CandleDevice),
}

impl ExecutorKind {
    /// What it cannot do.
    fn limits(self) -> ExecutorLimits {
        match self {
            Self::Native => ExecutorLimits { max_num_seqs: None, prefix_cache: true },
            Self::Candle(_) => ExecutorLimits { max_num_seqs: Some(1), prefix_cache: false },
        }
    }
}

/// Where candle computes: its GPU code and its memory are its own, so this is no [`Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandleDevice {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, in a build with the feature `candle-cuda`.
    Cuda {
        /// Its number.
        ordinal: usize,
    },
}

/// Where the weights' numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsKind {
    /// The model's files.
    File,
    /// Random numbers, to measure any size of model without a download.
    Dummy {
        /// Seed of all weights.
        seed: u64,
        /// Type of the matrices.
        weight_type: WeightType,
    },
}

/// A model ready to run, and what came with it.
pub struct LoadedModel {
    /// Runs steps.
    pub model: Box<dyn Model>,
    /// What kind of transformer it is.
    pub spec: DecoderSpec,
    /// The cache it needs.
    pub kv_layout: KvLayout,
    /// What a [`crate::ModelRunner`] of it is to be made with.
    pub runner_limits: RunnerLimits,
    /// What its executor cannot do.
    pub executor_limits: ExecutorLimits,
    /// Tokenizer, template and generation defaults.
    pub text: TextAssets,
    /// For logs and `spillway check`.
    pub summary: WeightSummary,
}

/// What an executor asks of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorLimits {
    /// Most sequences running at once, if fewer than asked for.
    pub max_num_seqs: Option<u32>,
    /// Whether blocks of one sequence may be lent to another; if not, every prompt must be computed from position 0.
    pub prefix_cache: bool,
}

/// What the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSummary {
    /// Numbers in all weights.
    pub num_parameters: u64,
    /// Bytes on the device.
    pub size_bytes: u64,
    /// Of these, what each step reads whole: all but a table that is only looked up.
    pub streamed_bytes: u64,
    /// How many tensors there are of each type, most frequent first.
    pub types: Vec<(String, usize)>,
}

/// A model's description and where its tensors are.
struct Opened {
    spec: DecoderSpec,
    names: &'static WeightNames,
    text: TextAssets,
    weights: OpenedWeights,
}

enum OpenedWeights {
    Stored(WeightStore),
    Dummy(DummyWeights),
}

/// Loads a model.
///
/// # Errors
///
/// [`ModelError`] says what is wrong with the files, which option the model cannot honour, or what the device lacks.
pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<LoadedModel, ModelError> {
    let Opened { spec, names, text, mut weights } = open(source, options.weights)?;
    if let Some(problem) = spec.problem() {
        return Err(ModelError::Malformed { path: source.path().to_owned(), problem });
    }
    let place = if options.device.shares_host_memory() { Place::Cpu } else { Place::Gpu };
    check_quantisation(source, options.quantisation, options.executor, place)?;
    let runner_limits = runner_limits(&spec, options)?;
    let (tensors, types) = match &mut weights {
        OpenedWeights::Stored(store) => {
            names.check(&spec, store)?;
            let types = store.count_types();
            // What is never read must not have a say in the cache's type.
            store.keep(&names.needed(&spec));
            (TensorSource::Stored(store), types)
        }
        OpenedWeights::Dummy(dummy) => (TensorSource::Dummy(dummy), Vec::new()),
    };
    let loader = WeightLoader {
        device: &options.device,
        source: tensors,
        names,
        policy: options.dtype,
        quantisation: options.quantisation,
    };
    let num_parameters = spec.num_parameters().unwrap_or(usize::MAX) as u64;
    let built = match options.executor {
        ExecutorKind::Native => build_native(&spec, &loader, &runner_limits, options.kv_cache)?,
        ExecutorKind::Candle(device) => build_candle(&spec, &loader, &runner_limits, device)?,
    };
    let Built { size_bytes, streamed_bytes, .. } = built;
    let summary = WeightSummary { num_parameters, size_bytes, streamed_bytes, types };
    Ok(LoadedModel {
        model: built.model,
        kv_layout: built.kv_layout,
        executor_limits: options.executor.limits(),
        runner_limits,
        spec,
        text,
        summary,
    })
}

/// Refuses a quantisation that the place or the executor does not have.
fn check_quantisation(
    source: &ModelSource,
    quantisation: Option<Quantisation>,
    executor: ExecutorKind,
    place: Place,
) -> Result<(), ModelError> {
    let Some(quantisation) = quantisation else { return Ok(()) };
    let unsupported = |feature: String, supported: &str| {
        let (path, supported) = (source.path().to_owned(), supported.to_owned());
        Err(ModelError::Unsupported { path, feature, supported })
    };
    if matches!(executor, ExecutorKind::Candle(_)) {
        let supported = "the executor `spillway` quantises; or serve with --quantization none";
        return unsupported(format!("{quantisation} weights in the executor `candle`"), supported);
    }
    match place.problem(quantisation) {
        Some(supported) => unsupported(format!("{quantisation} weights on the CPU"), supported),
        None => Ok(()),
    }
}

/// Reads a model's description without its weights' numbers.
///
/// # Errors
///
/// As [`load`].
pub fn read_spec(source: &ModelSource) -> Result<DecoderSpec, ModelError> {
    let opened = open(source, WeightsKind::Dummy { seed: 0, weight_type: WeightType::F32 })?;
    match opened.spec.problem() {
        Some(problem) => Err(ModelError::Malformed { path: source.path().to_owned(), problem }),
        None => Ok(opened.spec),
    }
}

/// Reads a model's text files, or what a GGUF file has in their place.
///
/// # Errors
///
/// As [`load`].
pub fn read_text(source: &ModelSource) -> Result<TextAssets, ModelError> {
    Ok(open(source, WeightsKind::Dummy { seed: 0, weight_type: WeightType::F32 })?.text)
}

/// Reads the lists of a model's tensors: how many there are of each type, most frequent first.
///
/// # Errors
///
/// [`ModelError`] says what is wrong with the files.
pub fn count_tensor_types(source: &ModelSource) -> Result<Vec<(String, usize)>, ModelError> {
    let store = match source {
        ModelSource::Folder(folder) => WeightStore::open_safetensors(folder)?,
        ModelSource::Gguf(path) => WeightStore::open_gguf(path)?.0,
    };
    Ok(store.count_types())
}

/// A model that one of the executors has built.
struct Built {
    model: Box<dyn Model>,
    kv_layout: KvLayout,
    size_bytes: u64,
    streamed_bytes: u64,
}

fn build_native(
    spec: &DecoderSpec,
    loader: &WeightLoader<'_>,
    limits: &RunnerLimits,
    kv_cache: KvCacheType,
) -> Result<Built, ModelError> {
    let like_weights = loader.policy.kv_dtype(loader.source.dominant_type());
    // Before the weights, which take long.
    let kv_dtype = kv_cache.choose(like_weights, loader.device.kv_dtypes())?;
    let weights = DecoderWeights::load(loader, spec)?;
    let size_bytes = weights.size_bytes() as u64;
    let streamed_bytes = weights.streamed_bytes() as u64;
    let decoder = Decoder::new(loader.device.clone(), spec.clone(), weights, *limits)?;
    Ok(Built { model: Box::new(decoder), kv_layout: spec.kv_layout(kv_dtype), size_bytes, streamed_bytes })
}

fn build_candle(
    spec: &DecoderSpec,
    loader: &WeightLoader<'_>,
    limits: &RunnerLimits,
    device: CandleDevice,
) -> Result<Built, ModelError> {
    let model = CandleModel::load(spec, loader, limits.max_model_len as usize, device)?;
    let number_type = candle::number_type(loader.policy, loader.source.dominant_type());
    let size_bytes = candle::weight_bytes(spec, number_type);
    // candle does not tell what each of its tensors takes: the table's share is that of its numbers.
    let table_share =
        (spec.vocab_size * spec.hidden_size) as f64 / spec.num_parameters().unwrap_or(usize::MAX) as f64;
    let looked_up = if spec.tied_head { 0 } else { (size_bytes as f64 * table_share) as u64 };
    Ok(Built {
        model: Box::new(model),
        kv_layout: KvLayout { num_layers: 0, ..spec.kv_layout(number_type) },
        size_bytes,
        streamed_bytes: size_bytes - looked_up,
    })
}

fn open(source: &ModelSource, weights: WeightsKind) -> Result<Opened, ModelError> {
    match source {
        ModelSource::Folder(folder) => open_folder(folder, weights),
        ModelSource::Gguf(path) => {
            let (store, metadata) = WeightStore::open_gguf(path)?;
            let form = GgufForm::of(&metadata)?;
            let spec = form.spec(&metadata, &store)?;
            let text = TextAssets::from_gguf(&metadata)?;
            let weights = match weights {
                WeightsKind::File => OpenedWeights::Stored(store),
                WeightsKind::Dummy { seed, weight_type } => {
                    OpenedWeights::Dummy(DummyWeights::new(seed, weight_type))
                }
            };
            Ok(Opened { spec, names: &form.names, text, weights })
        }
    }
}

fn open_folder(folder: &Path, weights: WeightsKind) -> Result<Opened, ModelError> {
    let config = ConfigJson::read(&folder.join("config.json"))?;
    let form = HfForm::of(&config)?;
    let weights = match weights {
        WeightsKind::File => {
            let store = WeightStore::open_safetensors(folder)?;
            let store = match Int4Scheme::read(&config)? {
                Some(scheme) => store.with_int4(&scheme)?,
                None => store,
            };
            OpenedWeights::Stored(store.renamed(|name| form.names.renamed(name))?)
        }
        WeightsKind::Dummy { seed, weight_type } => {
            OpenedWeights::Dummy(DummyWeights::new(seed, weight_type))
        }
    };
    Ok(Opened {
        // How weights are packed was read above: the architecture does not depend on it.
        spec: (form.spec)(&config.without("quantization_config"))?,
        names: &form.names,
        text: TextAssets::from_folder(folder, &config)?,
        weights,
    })
}

fn runner_limits(spec: &DecoderSpec, options: &LoadOptions) -> Result<RunnerLimits, ModelError> {
    let most = spec.max_positions as u32;
    let max_model_len = options.max_model_len.unwrap_or(most);
    for (name, value, limit) in [
        ("max_model_len", max_model_len, most),
        ("max_num_seqs", options.max_num_seqs, options.max_num_batched_tokens),
    ] {
        if value == 0 || value > limit {
            return Err(ModelError::OverLimit { name, value: u64::from(value), limit: u64::from(limit) });
        }
    }
    Ok(RunnerLimits {
        max_num_batched_tokens: options.max_num_batched_tokens,
        max_num_seqs: options.max_num_seqs,
        max_model_len,
    })
}

impl ExecutorLimits {
    /// Most sequences running at once, of those asked for.
    pub fn num_seqs(self, asked: NonZeroU32) -> NonZeroU32 {
        self.max_num_seqs.and_then(NonZeroU32::new).map_or(asked, |most| asked.min(most))
    }
}

impl DtypePolicy {
    /// The type of a cache that is like the weights, given that of most.
    fn kv_dtype(self, dominant: WeightType) -> DType {
        match (self, dominant) {
            (Self::F32, _) | (Self::Auto, WeightType::F32) => DType::F32,
            (Self::Bf16, _) | (Self::Auto, WeightType::BF16) => DType::BF16,
            (Self::F16, _)
            | (
                Self::Auto,
                WeightType::F16
                | WeightType::Q4_0
                | WeightType::Q4_1
                | WeightType::Q5_0
                | WeightType::Q5_1
                | WeightType::Q8_0
                | WeightType::Q2K
                | WeightType::Q3K
                | WeightType::Q4K
                | WeightType::Q5K
                | WeightType::Q6K,
            ) => DType::F16,
        }
    }
}

#[cfg(test)]
mod tests;

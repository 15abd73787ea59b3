//! From weights on disk to sampled tokens.
//!
//! An architecture is data ([`DecoderSpec`] and weight names, in `arch`); there is one decoder. Nothing here knows a
//! scheduler, a request or an async runtime, and nothing but `spillway_kernels` knows the device.
//!
//! In a request's path: the engine's thread calls [`ModelRunner::launch`] once a step.

mod batch;
mod error;
mod source;

mod spec;

mod arch;
mod weights;

mod dummy;
mod tensor_source;

mod kv_cache;
mod model;

mod decoder;

mod candle;

mod sampling;

mod runner;

mod text_assets;

mod load;

mod work;

pub use batch::{
    BatchError, BatchLimits, BatchRow, ForwardBatch, InputToken, LogitRules, RowError, RowOutput,
    RowSampling, RowScoring, RowTokens, SampledTokens,
};
pub use error::ModelError;
pub use kv_cache::{KvCache, KvCacheType, KvLayout};
pub use load::{
    CandleDevice, DtypePolicy, ExecutorKind, ExecutorLimits, InspectOptions, Inspection, LoadOptions,
    LoadedModel, Place, StoredTensors, WeightSummary, WeightsKind, count_tensor_types, inspect, load,
    read_spec, read_text,
};
pub use model::{Logits, Model, PendingTokens};
pub use runner::{LaunchedStep, ModelRunner, RunnerLimits};
pub use sampling::Sampler;
pub use source::ModelSource;
pub use spec::{
    Activation, Attention, DecoderSpec, ExpertWeighting, FeedForward, LayerSpec, Norms, Rope, RopeScaling,
};
pub use text_assets::{GgufVocabularyData, TextAssets, VocabularySource};
pub use weights::cut_layers;
pub use work::{LayersWithWindow, ModelWork, StepWork};

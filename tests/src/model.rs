//! A model that is loaded once and lent to many engines.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};

use spillway::model_text::{self, MissingTokenizer};
use spillway_engine::TextPipeline;
use spillway_kernels::{CpuOptions, Device, IsaChoice};
use spillway_models::{
    DecoderSpec, DtypePolicy, ExecutorKind, ExecutorLimits, ForwardBatch, KvCache, KvCacheType, KvLayout,
    LoadOptions, Logits, Model, ModelError, ModelSource, RunnerLimits, WeightsKind, load,
};
use spillway_text::{Timestamp, Tokenizer};
use spillway_types::{SeqId, TokenId};

use crate::executor::lock;

/// How a model is loaded for tests.
#[derive(Debug, Clone, Copy)]
pub struct LoadKnobs {
    /// What it computes with.
    pub dtype: DtypePolicy,
    /// Whose code computes.
    pub executor: ExecutorKind,
    /// Threads of the device.
    pub num_threads: usize,
    /// The largest step that any of its engines may plan.
    pub max_num_batched_tokens: u32,
    /// Most rows of such a step.
    pub max_num_seqs: u32,
    /// What the context is limited to; the model's own limit if absent.
    pub max_model_len: Option<u32>,
}

impl Default for LoadKnobs {
    fn default() -> Self {
        Self {
            dtype: DtypePolicy::F32,
            executor: ExecutorKind::Native,
            num_threads: 2,
            max_num_batched_tokens: 2048,
            max_num_seqs: 16,
            max_model_len: None,
        }
    }
}

/// The logits that a sequence's first token was sampled from: the last position of its prompt.
pub(crate) type FirstLogits = Vec<(SeqId, Vec<f32>)>;

/// A loaded model with its text.
pub struct TestModel {
    model: Arc<Mutex<Box<dyn Model>>>,
    pub(crate) device: Device,
    pub(crate) spec: DecoderSpec,
    pub(crate) kv_layout: KvLayout,
    pub(crate) runner_limits: RunnerLimits,
    pub(crate) executor_limits: ExecutorLimits,
    pub(crate) text: TextPipeline,
    pub(crate) end_tokens: Arc<[TokenId]>,
}

impl TestModel {
    /// Loads a folder or a GGUF file.
    ///
    /// # Panics
    ///
    /// If it cannot be loaded.
    pub fn load(path: &Path, knobs: &LoadKnobs) -> Self {
        Self::try_load(path, knobs).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Loads a folder or a GGUF file, or says why its weights cannot be loaded.
    ///
    /// # Errors
    ///
    /// As [`load`].
    ///
    /// # Panics
    ///
    /// If there is nothing at the path, or its text files are wrong.
    pub fn try_load(path: &Path, knobs: &LoadKnobs) -> Result<Self, ModelError> {
        let num_threads = NonZeroUsize::new(knobs.num_threads);
        let device = Device::cpu(&CpuOptions { isa: IsaChoice::Auto, num_threads }).expect("a processor");
        let options = LoadOptions {
            device: device.clone(),
            dtype: knobs.dtype,
            quantisation: None,
            executor: knobs.executor,
            weights: WeightsKind::File,
            kv_cache: KvCacheType::Auto,
            max_num_batched_tokens: knobs.max_num_batched_tokens,
            max_num_seqs: knobs.max_num_seqs,
            max_model_len: knobs.max_model_len,
        };
        let source = ModelSource::from_path(path).expect("a model");
        let loaded = load(&source, &options)?;
        let text = model_text::build(loaded.text, MissingTokenizer::Refuse).expect("the model's text files");
        let today = Arc::new(|| Timestamp::from_unix_seconds(0));
        let pipeline = TextPipeline::new(text.tokenizer, text.template, today);
        Ok(Self {
            model: Arc::new(Mutex::new(loaded.model)),
            device,
            spec: loaded.spec,
            kv_layout: loaded.kv_layout,
            runner_limits: loaded.runner_limits,
            executor_limits: loaded.executor_limits,
            text: pipeline,
            end_tokens: text.end_tokens,
        })
    }

    /// What kind of transformer it is.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Tokens with which it ends an answer.
    pub fn end_tokens(&self) -> &[TokenId] {
        &self.end_tokens
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.text.tokenizer()
    }

    /// The model for one engine, and where the first logits of each of its sequences will be.
    pub(crate) fn lend(&self) -> (LentModel, Arc<Mutex<FirstLogits>>) {
        let first_logits = Arc::default();
        let lent = LentModel {
            model: Arc::clone(&self.model),
            spec: self.spec.clone(),
            first_logits: Arc::clone(&first_logits),
        };
        (lent, first_logits)
    }
}

/// A model that others use too, one step at a time. Native models keep nothing from one step to the next.
pub(crate) struct LentModel {
    model: Arc<Mutex<Box<dyn Model>>>,
    spec: DecoderSpec,
    first_logits: Arc<Mutex<FirstLogits>>,
}

impl Model for LentModel {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        let mut first_logits = lock(&self.first_logits);
        // Whose logits come: nobody's where they score a prompt.
        let mut samplers = batch.rows.iter().flat_map(|row| {
            let num_scored = row.num_logits() as usize - usize::from(row.sample.is_some());
            let sampler = row.sample.is_some().then_some(Some(row.seq_id));
            std::iter::repeat_n(None, num_scored).chain(sampler)
        });
        lock(&self.model).forward(batch, kv, &mut |logits| {
            for (values, sampler) in logits.rows().zip(samplers.by_ref()) {
                let Some(seq_id) = sampler else { continue };
                if first_logits.iter().all(|(known, _)| *known != seq_id) {
                    first_logits.push((seq_id, values.to_vec()));
                }
            }
            sink(logits);
        })
    }
}

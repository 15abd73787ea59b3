//! From a model's files to a running engine.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{Context, bail};
use spillway_engine::{
    Clock, Engine, EngineConfig, EngineHandle, EngineParts, EngineThread, RunnerExecutor, SystemClock,
    TextPipeline, Today,
};
use spillway_kernels::{Device, WeightType};
use spillway_models::{
    KvCache, KvLayout, LoadOptions, LoadedModel, ModelRunner, ModelSource, ModelWork, WeightsKind, load,
};
use spillway_scheduler::SchedulerConfig;
use spillway_text::{GenerationConfig, Timestamp};
use spillway_types::Sampling;

use super::device;
#[cfg(feature = "fault-injection")]
use super::faults;
use super::memory::{self, Room};
use crate::config::{EngineSettings, SchedulerSettings};
use crate::http::{SamplingDefaults, WallClock};
use crate::model_text::{self, MissingTokenizer};

/// A running engine.
pub(super) struct Started {
    pub(super) handle: EngineHandle,
    pub(super) thread: EngineThread,
    pub(super) defaults: SamplingDefaults,
    /// The engine's own clock, on which it is told when to end.
    pub(super) clock: Arc<dyn Clock>,
    /// What the model asks of a step at least, if that can be told.
    pub(super) work: Option<ModelWork>,
}

/// Loads the model and starts its engine.
pub(super) fn start(
    config: &EngineSettings,
    device: device::Found,
    source: &ModelSource,
    wall_clock: &WallClock,
) -> anyhow::Result<Started> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let device = device::open(device, &config.device)?;
    let loaded = load(source, &load_options(config, &device))
        .with_context(|| format!("model {}", source.path().display()))?;
    warn_of_widened(&device, &loaded.summary.types);
    let missing = match config.model.weights {
        WeightsKind::File => MissingTokenizer::Refuse,
        WeightsKind::Dummy { .. } => MissingTokenizer::StandIn { vocab_size: loaded.spec.vocab_size as u32 },
    };
    let text = model_text::build(loaded.text.clone(), missing)?;
    let defaults = sampling_defaults(&text.generation)?;
    let room = match device.free_bytes() {
        Some(arena) => Room::Gpu { arena: arena as u64 },
        None => Room::Host { available: memory::available_bytes() },
    };
    let scheduler = scheduler_config(&config.scheduler, &loaded, room)?;
    tracing::info!(
        model = %config.model.served_name,
        path = %source.path().display(),
        parameters = loaded.summary.num_parameters,
        weight_bytes = loaded.summary.size_bytes,
        kv_blocks = scheduler.num_blocks,
        kv_type = %loaded.kv_layout.dtype,
        kv_bytes = loaded.kv_layout.bytes_per_block(scheduler.block_size) * u64::from(scheduler.num_blocks.get()),
        max_model_len = scheduler.max_model_len,
        load_ms = clock.now().as_millis() as u64,
        "model loaded"
    );
    let work = ModelWork::of(&loaded);
    let kv = KvCache::new(&device, &loaded.kv_layout, scheduler.block_size, scheduler.num_blocks.get())
        .context("the KV cache could not be made: lower --kv-cache-memory")?;
    let vocab_size = loaded.spec.vocab_size as u32;
    let model = loaded.model;
    #[cfg(feature = "fault-injection")]
    let model = faults::plant(model, &config.faults);
    let mut runner = ModelRunner::new(model, kv, loaded.runner_limits);
    let began = clock.now();
    let num_recorded = runner
        .prepare()
        .context("steps could not be recorded on the GPU; --cuda-graphs=false does without")?;
    if num_recorded > 0 {
        let record_ms = clock.now().saturating_sub(began).as_millis() as u64;
        tracing::info!(num_recorded, record_ms, "steps recorded as CUDA graphs");
    }
    let wall_clock = Arc::clone(wall_clock);
    let today: Today = Arc::new(move || Timestamp::from_unix_seconds(wall_clock() as i64));
    #[cfg(feature = "fault-injection")]
    let today = faults::plant_today(today, &config.faults);
    let (handle, thread) = Engine::start(EngineParts {
        model: config.model.served_name.clone(),
        vocab_size,
        end_tokens: text.end_tokens,
        text: TextPipeline::new(text.tokenizer, text.template, today),
        executor: Box::new(RunnerExecutor::start(runner).context("the model's thread could not be started")?),
        config: EngineConfig {
            scheduler,
            cache_dtype: loaded.kv_layout.dtype.to_string(),
            step_overdue_after: config.scheduler.step_timeout,
            max_queue_ttft: config.scheduler.max_queue_ttft,
        },
        clock: Arc::clone(&clock),
    })?;
    Ok(Started { handle, thread, defaults, clock, work })
}

/// Says which weights take more memory on a GPU than their file promises.
fn warn_of_widened(device: &Device, types: &[(String, usize)]) {
    if device.shares_host_memory() {
        return;
    }
    for (name, num_tensors) in types {
        if WeightType::ALL.iter().any(|known| known.name() == name && known.is_widened_on_gpu()) {
            tracing::warn!(
                weight_type = name,
                num_tensors,
                "the GPU has no products for this type and holds it as bf16, 16 bits a weight; \
                 a Q4_K file of the model takes a third of that"
            );
        }
    }
}

fn load_options(config: &EngineSettings, device: &Device) -> LoadOptions {
    LoadOptions {
        device: device.clone(),
        dtype: config.model.dtype,
        quantisation: config.model.quantisation,
        executor: config.model.executor,
        weights: config.model.weights,
        kv_cache: config.scheduler.kv_cache,
        max_num_batched_tokens: config.scheduler.max_num_batched_tokens.get(),
        max_num_seqs: config.scheduler.max_num_seqs.get(),
        max_model_len: config.scheduler.max_model_len.map(NonZeroU32::get),
    }
}

/// The model's own defaults, where it has any; OpenAI's elsewhere.
fn sampling_defaults(generation: &GenerationConfig) -> anyhow::Result<SamplingDefaults> {
    let openai = SamplingDefaults::default();
    let defaults = SamplingDefaults {
        temperature: generation.temperature.unwrap_or(openai.temperature),
        top_p: generation.top_p.unwrap_or(openai.top_p),
        top_k: generation.top_k.and_then(NonZeroU32::new),
        min_p: openai.min_p,
    };
    Sampling::new(defaults.temperature, defaults.top_k, defaults.top_p, defaults.min_p)
        .context("generation_config.json of the model")?;
    Ok(defaults)
}

/// The settings, with what the model and the memory say.
fn scheduler_config(
    settings: &SchedulerSettings,
    loaded: &LoadedModel,
    room: Room,
) -> anyhow::Result<SchedulerConfig> {
    let model_len =
        NonZeroU32::new(loaded.runner_limits.max_model_len).context("the model has no positions")?;
    let limits = loaded.executor_limits;
    let max_num_seqs = limits.num_seqs(settings.max_num_seqs);
    let budget = room.kv_budget();
    let num_blocks = num_blocks(settings, &loaded.kv_layout, max_num_seqs, model_len, budget)?;
    let max_model_len = max_model_len(settings, model_len, num_blocks)?;
    Ok(SchedulerConfig {
        block_size: settings.block_size,
        num_blocks,
        max_num_batched_tokens: settings.max_num_batched_tokens,
        max_num_seqs,
        max_waiting: settings.max_waiting,
        max_model_len,
        max_in_flight_steps: settings.max_in_flight_steps,
        prefix_caching: settings.prefix_caching && limits.prefix_cache,
        ageing_interval: settings.ageing_interval,
        long_prefill_threshold: None,
    })
}

/// The context: no more than the cache holds, since a sequence that fills it could never go on.
pub(super) fn max_model_len(
    settings: &SchedulerSettings,
    model_len: NonZeroU32,
    num_blocks: NonZeroU32,
) -> anyhow::Result<NonZeroU32> {
    let block_tokens = NonZeroU32::new(settings.block_size.tokens()).context("a block holds no token")?;
    let cache_len = num_blocks.saturating_mul(block_tokens);
    if let Some(asked) = settings.max_model_len.filter(|&asked| asked > cache_len) {
        bail!(
            "--max-model-len is {asked}, but the KV cache holds {cache_len} tokens: raise --kv-cache-memory or lower it"
        );
    }
    if cache_len < model_len {
        tracing::warn!(
            max_model_len = cache_len,
            model_len,
            "the KV cache is smaller than the model's context"
        );
    }
    Ok(model_len.min(cache_len))
}

/// Blocks of the KV cache: what was asked for, or what all sequences can use within the budget.
pub(super) fn num_blocks(
    settings: &SchedulerSettings,
    layout: &KvLayout,
    max_num_seqs: NonZeroU32,
    model_len: NonZeroU32,
    budget_bytes: u64,
) -> anyhow::Result<NonZeroU32> {
    let blocks_per_seq = settings.block_size.blocks_for(model_len.get());
    let useful = blocks_per_seq.saturating_mul(max_num_seqs.get());
    let bytes_per_block = layout.bytes_per_block(settings.block_size);
    let num_blocks = match settings.kv_cache_memory {
        // An executor that keeps its own cache takes none of ours.
        _ if bytes_per_block == 0 => useful,
        Some(asked) => layout.blocks_in(settings.block_size, asked.bytes()),
        None => layout.blocks_in(settings.block_size, budget_bytes).min(useful),
    };
    NonZeroU32::new(num_blocks).with_context(|| {
        format!("the KV cache has no room for one block of {bytes_per_block} bytes: raise --kv-cache-memory")
    })
}

//! `spillway check`: what is inside a model, what it needs, whether it fits this machine, and what was found here.
//!
//! Only headers are read. What the server would decide at its start is decided here by the same functions.

pub(super) mod facts;
mod routing;

use std::num::NonZeroU32;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};
use spillway_kernels::CpuDevice;
use spillway_models::{InspectOptions, Inspection, ModelSource, Place, inspect};

use super::memory::{self, Room};
use super::{device, engine};
use crate::config::{ByteSize, CheckForm, EngineSettings, ServeConfig};
use crate::model_store;

/// What `spillway check` is told.
pub(super) struct Check<'a> {
    /// What would be served, and how.
    pub(super) config: &'a ServeConfig,
    /// The same as users write it.
    pub(super) effective: &'a str,
    /// How to tell.
    pub(super) form: CheckForm,
}

/// Memory, in bytes, that serving takes, and how it is shared out.
struct Needs {
    report: Value,
    /// Why it does not fit, with the mend.
    problem: Option<String>,
}

/// Prints the report.
///
/// # Errors
///
/// If the model cannot be loaded, or does not fit.
pub(super) fn run(check: &Check<'_>) -> anyhow::Result<()> {
    let examined = check.config.engine.as_ref().map_or_else(|| Ok((Map::new(), None)), examine);
    let (mut report, problem) = match examined {
        Ok((report, problem)) => (report, problem.map(|problem| anyhow!(problem))),
        Err(error) => (Map::new(), Some(error)),
    };
    let local = check.config.engine.as_ref().map(|engine| routing::LocalModel {
        name: engine.model.served_name.as_str(),
        context_tokens: report.get("needs").and_then(|needs| needs["max_model_len"].as_u64()),
    });
    report.insert("fits".to_owned(), json!(problem.is_none()));
    report.insert("problem".to_owned(), json!(problem.as_ref().map(|error| format!("{error:#}"))));
    match check.form {
        CheckForm::Json => {
            let config: toml::Table = toml::from_str(check.effective).context("the config")?;
            report.insert("routing".to_owned(), routing::report(check.config, local.as_ref()));
            report.insert("config".to_owned(), serde_json::to_value(config)?);
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        CheckForm::Text => {
            print!("{}", facts::text(&report));
            println!("\n{}", routing::text(check.config, local.as_ref()));
            println!("config\n{}", indented(check.effective));
        }
    }
    // As it came, so that the exit code tells a device that cannot be used from a model that does not fit.
    problem.map_or(Ok(()), Err)
}

/// The report, and why it does not fit.
fn examine(config: &EngineSettings) -> anyhow::Result<(Map<String, Value>, Option<String>)> {
    let device = device::find(config)?;
    let path = model_store::find(&config.model.choice)?;
    let source = ModelSource::from_path(&path).with_context(|| format!("model {}", path.display()))?;
    let options = InspectOptions {
        dtype: config.model.dtype,
        quantisation: config.model.quantisation,
        executor: config.model.executor,
        place: match device {
            device::Found::Cpu | device::Found::GpuOfCandle(_) => Place::Cpu,
            device::Found::Gpu(_) => Place::Gpu,
        },
        weights: config.model.weights,
        kv_cache: config.scheduler.kv_cache,
        max_num_batched_tokens: config.scheduler.max_num_batched_tokens.get(),
        max_num_seqs: config.scheduler.max_num_seqs.get(),
    };
    let inspection = inspect(&source, &options).with_context(|| format!("model {}", path.display()))?;
    let cpu = CpuDevice::new(&config.device.cpu)?;
    let found = memory::find();
    let room = match &device {
        device::Found::Cpu => Room::Host { available: found.available() },
        device::Found::GpuOfCandle(gpu) => Room::Gpu { arena: gpu.free_bytes()? },
        device::Found::Gpu(gpu) => Room::Gpu { arena: gpu.arena_bytes(config.device.gpu)? },
    };
    let needs = needs(config, &inspection, room)?;
    let mut report = Map::new();
    report.insert("model".to_owned(), facts::model(&source, &inspection));
    report.insert("tensors".to_owned(), facts::tensors(&inspection));
    report.insert("text".to_owned(), facts::text_assets(&inspection.text));
    report.insert("needs".to_owned(), needs.report);
    report.insert("machine".to_owned(), facts::machine(&cpu, found));
    if let device::Found::Gpu(gpu) | device::Found::GpuOfCandle(gpu) = &device {
        report.insert("gpu".to_owned(), gpu.facts());
    }
    Ok((report, needs.problem))
}

fn needs(config: &EngineSettings, inspection: &Inspection, room: Room) -> anyhow::Result<Needs> {
    let settings = &config.scheduler;
    let model_len = settings.max_model_len.map_or(inspection.spec.max_positions as u32, NonZeroU32::get);
    let model_len = NonZeroU32::new(model_len).context("the model has no positions")?;
    let layout = &inspection.kv_layout;
    let block_bytes = layout.bytes_per_block(settings.block_size);
    let own_token_bytes = inspection.own_cache_token_bytes;
    let bytes_for = |tokens: u32| {
        u64::from(settings.block_size.blocks_for(tokens)) * block_bytes + u64::from(tokens) * own_token_bytes
    };
    let max_num_seqs = inspection.executor_limits.num_seqs(settings.max_num_seqs);
    let fixed = inspection.weight_bytes + inspection.activation_bytes;
    // What is left is what the server finds free once the weights are there.
    let blocks = engine::num_blocks(settings, layout, max_num_seqs, model_len, room.less(fixed).kv_budget());
    // An executor with a cache of its own fills it up to the context, whatever is asked for ours.
    let own_cache = u64::from(max_num_seqs.get()) * u64::from(model_len.get()) * own_token_bytes;
    let cache = own_cache + blocks.as_ref().map_or(0, |blocks| u64::from(blocks.get()) * block_bytes);
    let cache_tokens =
        blocks.as_ref().map_or(0, |blocks| u64::from(blocks.get()) * u64::from(settings.block_size.tokens()));
    let problem = problem(config, inspection, &Shares { available: room.bytes(), fixed, cache })
        .or_else(|| blocks.as_ref().err().map(|error| format!("{error:#}")))
        .or_else(|| {
            let blocks = *blocks.as_ref().ok()?;
            engine::max_model_len(settings, model_len, blocks).err().map(|error| format!("{error:#}"))
        });
    let report = json!({
        "weights_bytes": inspection.weight_bytes,
        "activations_bytes": inspection.activation_bytes,
        "kv_token_bytes": block_bytes / u64::from(settings.block_size.tokens()) + own_token_bytes,
        "kv_type": layout.dtype.to_string(),
        "max_model_len": model_len,
        "max_num_seqs": max_num_seqs,
        "kv_of_one_sequence_bytes": bytes_for(model_len.get()),
        "kv_of_all_sequences_bytes": bytes_for(model_len.get()).saturating_mul(u64::from(max_num_seqs.get())),
        "kv_cache_bytes": cache,
        "kv_cache_tokens": cache_tokens,
        "full_sequences_at_once": cache_tokens / u64::from(model_len.get()),
        "total_bytes": fixed + cache,
    });
    Ok(Needs { report, problem })
}

/// How memory is shared out, in bytes.
struct Shares {
    available: Option<u64>,
    fixed: u64,
    cache: u64,
}

/// Why it cannot be loaded or does not fit, with the mend.
fn problem(config: &EngineSettings, inspection: &Inspection, shares: &Shares) -> Option<String> {
    let most = inspection.spec.max_positions as u64;
    if let Some(asked) = config.scheduler.max_model_len.filter(|&asked| u64::from(asked.get()) > most) {
        return Some(format!("--max-model-len is {asked}, limit {most} for this model: lower it"));
    }
    let size = |bytes| facts::size(bytes);
    let available = shares.available?;
    if shares.fixed > available {
        return Some(format!(
            "weights and activations need {}, but {} are free: take a smaller quantisation (--quantization), --dtype auto or bf16, a lower \
             --max-num-batched-tokens, or a machine with more memory",
            size(shares.fixed),
            size(available)
        ));
    }
    if shares.fixed + shares.cache > available {
        if let Some(tokens) = (available - shares.fixed).checked_div(inspection.own_cache_token_bytes) {
            return Some(format!(
                "weights, activations and candle's KV cache need {}, but {} are free: lower --max-model-len to {tokens} or less",
                size(shares.fixed + shares.cache),
                size(available)
            ));
        }
        return Some(format!(
            "weights, activations and the KV cache need {}, but {} are free: lower --kv-cache-memory to {} or less",
            size(shares.fixed + shares.cache),
            size(available),
            ByteSize::from_mib(((available - shares.fixed) >> 20) as u32)
        ));
    }
    None
}

fn indented(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().filter(|line| !line.is_empty()).map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

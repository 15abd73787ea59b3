//! Qwen3's mixtures of experts: Qwen3 with many feed-forward networks in some layers or all.

use serde_json::json;

use super::from_gguf::GgufModel;
use super::names::{GGUF, HF};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::{DecoderSpec, ExpertWeighting, FeedForward};

pub(super) const QWEN3_MOE: Architecture = Architecture {
    name: "qwen3moe",
    hf: HfForm { model_types: &["qwen3_moe"], spec: spec_from_config, names: HF },
    gguf: Some(GgufForm { architecture: "qwen3moe", spec: spec_from_gguf, names: GGUF }),
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let config = config.with_defaults(&json!({ "decoder_sparse_step": 1, "sliding_window": 4096 }));
    let mut spec = from_config::base(&config, "qwen3moe")?;
    spec.attention.head_norms = true;
    // Unlike its siblings it has one window for all layers: the keys that would tell them apart are not looked at.
    if config.bool("use_sliding_window")? == Some(true) {
        let window = from_config::window(&config)?;
        for layer in &mut spec.layers {
            layer.window = window;
        }
    }
    let weighting = match config.bool("norm_topk_prob")? {
        Some(true) => ExpertWeighting::OfChosen,
        Some(false) | None => ExpertWeighting::OfAll,
    };
    let experts = FeedForward::Experts {
        num_experts: from_config::num_experts(&config)?,
        num_active: config.required_count("num_experts_per_tok")?,
        size: config.required_count("moe_intermediate_size")?,
        weighting,
    };
    let step = config.required_count("decoder_sparse_step")?;
    let dense_layers = config.counts("mlp_only_layers")?;
    for (layer_idx, layer) in spec.layers.iter_mut().enumerate() {
        if !dense_layers.contains(&layer_idx) && (layer_idx + 1).is_multiple_of(step) {
            layer.feed_forward = experts;
        }
    }
    Ok(spec)
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    model.refuse("attention.sliding_window", 0)?;
    let mut spec = model.base()?;
    spec.attention.head_norms = true;
    let size = model.required_count("expert_feed_forward_length")?;
    model.set_experts(&mut spec, size)?;
    Ok(spec)
}

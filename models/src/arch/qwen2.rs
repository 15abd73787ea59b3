//! Qwen2 and Qwen2.5: q, k and v have a bias, and the later layers may have a window.

use serde_json::json;

use super::from_gguf::GgufModel;
use super::names::{GGUF, HF};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) const QWEN2: Architecture = Architecture {
    name: "qwen2",
    hf: HfForm { model_types: &["qwen2"], spec: spec_from_config, names: HF },
    gguf: Some(GgufForm { architecture: "qwen2", spec: spec_from_gguf, names: GGUF }),
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let mut spec = from_config::base(config, "qwen2")?;
    spec.attention.qkv_bias = true;
    set_windows(&mut spec, config)?;
    Ok(spec)
}

/// Windows count only if `use_sliding_window` says so, and then from layer `max_window_layers` on.
pub(super) fn set_windows(spec: &mut DecoderSpec, config: &ConfigJson) -> Result<(), ModelError> {
    let config = config.with_defaults(&json!({ "sliding_window": 4096, "max_window_layers": 28 }));
    if config.bool("use_sliding_window")? != Some(true) {
        return Ok(());
    }
    let window = from_config::window(&config)?;
    let first = config.required_count("max_window_layers")?;
    let slides = from_config::sliding_layers(&config, spec.layers.len(), |layer_idx| layer_idx >= first)?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        layer.window = window.filter(|_| slides);
    }
    Ok(())
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    model.refuse("attention.sliding_window", 0)?;
    let mut spec = model.base()?;
    spec.attention.qkv_bias = true;
    Ok(spec)
}

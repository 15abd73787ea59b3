//! Qwen3: heads of q and k are normalised before they turn, and there is no bias.

use serde_json::json;

use super::from_gguf::GgufModel;
use super::names::{GGUF, HF};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config, qwen2};
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) const QWEN3: Architecture = Architecture {
    name: "qwen3",
    hf: HfForm { model_types: &["qwen3"], spec: spec_from_config, names: HF },
    gguf: Some(GgufForm { architecture: "qwen3", spec: spec_from_gguf, names: GGUF }),
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let config = config.with_defaults(&json!({ "head_dim": 128 }));
    let mut spec = from_config::base(&config, "qwen3")?;
    spec.attention.head_norms = true;
    qwen2::set_windows(&mut spec, &config)?;
    Ok(spec)
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    model.refuse("attention.sliding_window", 0)?;
    let mut spec = model.base()?;
    spec.attention.head_norms = true;
    Ok(spec)
}

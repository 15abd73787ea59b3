//! Mistral 7B and its relatives of one window for all layers: a Llama whose tokens see only so far back.
//!
//! Its GGUF files call themselves `llama`.

use serde_json::json;

use super::names::HF;
use super::{Architecture, ConfigJson, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) const MISTRAL: Architecture = Architecture {
    name: "mistral",
    hf: HfForm { model_types: &["mistral"], spec: spec_from_config, names: HF },
    gguf: None,
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    // Left out it is transformers' default; later models write `null`.
    let config = config.with_defaults(&json!({ "sliding_window": 4096 }));
    config.refuse("layer_types", &[])?;
    let mut spec = from_config::base(&config, "mistral")?;
    let window = from_config::window(&config)?;
    for layer in &mut spec.layers {
        layer.window = window;
    }
    Ok(spec)
}

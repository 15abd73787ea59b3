//! The Llama family: Llama 2, Llama 3.x and `SmolLM2`, and whatever else calls itself `llama`: in GGUF files Mistral and
//! Mixtral, too.

use super::from_gguf::GgufModel;
use super::names::{GGUF, HF, RopeRows, WeightNames};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) const LLAMA: Architecture = Architecture {
    name: "llama",
    hf: HfForm { model_types: &["llama"], spec: spec_from_config, names: HF },
    gguf: Some(GgufForm {
        architecture: "llama",
        spec: spec_from_gguf,
        names: WeightNames { rope_rows: RopeRows::Interleaved, ..GGUF },
    }),
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    config.refuse("sliding_window", &[])?;
    from_config::base(config, "llama")
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = model.base()?;
    // Rows are interleaved over whole heads.
    model.refuse("rope.dimension_count", spec.head_dim)?;
    let window = model.window()?;
    for layer in &mut spec.layers {
        layer.window = window;
    }
    let size = model.required_count("feed_forward_length")?;
    model.set_experts(&mut spec, size)?;
    Ok(spec)
}

//! Phi-3, Phi-3.5 and Phi-4 (mini too): fused projections, heads that turn in part, `LongRoPE`, and a window.

use super::from_gguf::GgufModel;
use super::names::{Fused, GGUF, GGUF_LAYER, HF, HF_LAYER, LayerNames, WeightNames};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) const PHI3: Architecture = Architecture {
    name: "phi3",
    hf: HfForm { model_types: &["phi3"], spec: spec_from_config, names: HF_NAMES },
    gguf: Some(GgufForm { architecture: "phi3", spec: spec_from_gguf, names: GGUF_NAMES }),
};

const HF_NAMES: WeightNames = WeightNames {
    layer: LayerNames {
        qkv: Fused::Together("self_attn.qkv_proj.weight"),
        gate_up: Fused::Together("mlp.gate_up_proj.weight"),
        ..HF_LAYER
    },
    ..HF
};

const GGUF_NAMES: WeightNames = WeightNames {
    layer: LayerNames {
        qkv: Fused::Together("attn_qkv.weight"),
        gate_up: Fused::Together("ffn_up.weight"),
        ..GGUF_LAYER
    },
    ..GGUF
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let mut spec = from_config::base(config, "phi3")?;
    let window = from_config::window(config)?;
    for layer in &mut spec.layers {
        layer.window = window;
    }
    Ok(spec)
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = model.base()?;
    let window = model.window()?;
    for layer in &mut spec.layers {
        layer.window = window;
    }
    Ok(spec)
}

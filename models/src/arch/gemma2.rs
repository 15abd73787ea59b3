//! Gemma 2: sandwich norms, soft caps, `GeGLU`, scaled embeddings, and every second layer with a window.

use std::num::NonZeroUsize;

use serde_json::json;

use super::from_gguf::GgufModel;
use super::names::{GGUF, HF, HF_LAYER, LayerNames, NormWeights, WeightNames};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::{Activation, DecoderSpec, Norms};

pub(super) const GEMMA2: Architecture = Architecture {
    name: "gemma2",
    hf: HfForm { model_types: &["gemma2"], spec: spec_from_config, names: HF_NAMES },
    gguf: Some(GgufForm { architecture: "gemma2", spec: spec_from_gguf, names: GGUF }),
};

/// Gemma's safetensors; in its GGUF files the one is in the norms' weights already.
pub(super) const HF_NAMES: WeightNames = WeightNames {
    layer: LayerNames { ffn_norm: "pre_feedforward_layernorm.weight", ..HF_LAYER },
    norm_weights: NormWeights::FactorLessOne,
    ..HF
};

/// What the first GGUF files left unsaid.
const DEFAULT_WINDOW: usize = 4096;
const DEFAULT_ATTENTION_CAP: f32 = 50.0;
const DEFAULT_LOGIT_CAP: f32 = 30.0;

/// Layers of the 27B model, whose scores are scaled by another root; a GGUF file says it in no other way.
const LAYERS_OF_27B: usize = 46;

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let config = config.with_defaults(&json!({
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
        "query_pre_attn_scalar": 256, "sliding_window": DEFAULT_WINDOW, "attn_logit_softcapping": DEFAULT_ATTENTION_CAP,
        "final_logit_softcapping": DEFAULT_LOGIT_CAP
    }));
    let mut spec = from_config::base(&config, "gemma2")?;
    set_common(&mut spec);
    set_caps(&mut spec, &config)?;
    let window = from_config::window(&config)?;
    let slides = from_config::sliding_layers(&config, spec.layers.len(), slides_by_default)?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        layer.window = window.filter(|_| slides);
    }
    Ok(spec)
}

/// What all Gemmas have, whatever the format.
pub(super) fn set_common(spec: &mut DecoderSpec) {
    spec.norms = Norms::Sandwich;
    spec.embedding_scale = Some((spec.hidden_size as f32).sqrt());
}

/// What only a config says: soft caps, and the scale of scores: not always the root of the head's columns.
pub(super) fn set_caps(spec: &mut DecoderSpec, config: &ConfigJson) -> Result<(), ModelError> {
    config.refuse("use_bidirectional_attention", &[json!(false)])?;
    // An explicit null is not the default; other families' would take its place.
    config.required_text("hidden_activation")?;
    spec.attention.scale = 1.0 / config.required_number("query_pre_attn_scalar")?.sqrt();
    spec.attention.soft_cap = config.number("attn_logit_softcapping")?;
    spec.logit_soft_cap = config.number("final_logit_softcapping")?;
    Ok(())
}

fn slides_by_default(layer_idx: usize) -> bool {
    layer_idx.is_multiple_of(2)
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = model.base()?;
    set_common(&mut spec);
    // A file does not say; folders have it in their config.
    spec.activation = Activation::GeluTanh;
    if spec.layers.len() == LAYERS_OF_27B {
        spec.attention.scale = 1.0 / ((spec.hidden_size / spec.num_heads.max(1)) as f32).sqrt();
    }
    spec.attention.soft_cap = model.number("attn_logit_softcapping")?.or(Some(DEFAULT_ATTENTION_CAP));
    spec.logit_soft_cap = model.number("final_logit_softcapping")?.or(Some(DEFAULT_LOGIT_CAP));
    let window = NonZeroUsize::new(model.count("attention.sliding_window")?.unwrap_or(DEFAULT_WINDOW));
    for (layer_idx, layer) in spec.layers.iter_mut().enumerate() {
        layer.window = window.filter(|_| slides_by_default(layer_idx));
    }
    Ok(spec)
}

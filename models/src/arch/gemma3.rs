//! Gemma 3, its text model: Gemma 2 with norms of heads instead of soft caps, five layers of six with a window and
//! with a rope of their own.

use serde_json::json;

use super::from_gguf::GgufModel;
use super::names::{GGUF, Rename, WeightNames};
use super::{Architecture, ConfigJson, GgufForm, HfForm, from_config, gemma2};
use crate::error::ModelError;
use crate::spec::{Activation, DecoderSpec, Rope, RopeScaling};

pub(super) const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    hf: HfForm { model_types: &["gemma3_text", "gemma3"], spec: spec_from_config, names: HF_NAMES },
    gguf: Some(GgufForm { architecture: "gemma3", spec: spec_from_gguf, names: GGUF }),
};

/// A model with eyes has the text model's weights under a prefix; its vision part is left alone.
const HF_NAMES: WeightNames = WeightNames {
    renames: &[
        Rename { prefix: "language_model.", to: "" },
        Rename { prefix: "model.language_model.", to: "model." },
    ],
    ignored_prefixes: &[
        "vision_tower.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
    ],
    ..gemma2::HF_NAMES
};

/// Every so many layers there is one without a window, where nothing else is said.
const DEFAULT_PATTERN: usize = 6;
/// Base of the sliding layers' wavelengths, where nothing else is said.
const LOCAL_THETA: f32 = 10_000.0;
/// Layers of the 27B model, whose scores are scaled by another root; a GGUF file says it in no other way.
const LAYERS_OF_27B: usize = 62;

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    // It stands beside the text model, whose keys are all that is read below.
    config.refuse("quantization_config", &[])?;
    let text = config.object("text_config")?;
    // Published files leave out what has a default.
    let config = text.as_ref().unwrap_or(config).with_defaults(&json!({
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": true, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "sliding_window_pattern": DEFAULT_PATTERN, "rope_theta": 1_000_000.0, "rope_local_base_freq": LOCAL_THETA
    }));
    let mut spec = from_config::base(&config.without("rope_parameters"), "gemma3")?;
    gemma2::set_common(&mut spec);
    gemma2::set_caps(&mut spec, &config)?;
    spec.attention.head_norms = true;
    spec.ropes = ropes(&config, spec.head_dim)?;
    let window = from_config::window(&config)?;
    let pattern = config.required_count("sliding_window_pattern")?;
    let slides =
        from_config::sliding_layers(&config, spec.layers.len(), |layer_idx| slides(layer_idx, pattern))?;
    for (layer, slides) in spec.layers.iter_mut().zip(slides) {
        layer.window = window.filter(|_| slides);
        layer.rope_idx = usize::from(slides);
    }
    Ok(spec)
}

/// The ropes of the layers without a window and of those with one.
///
/// Newer files have `rope_parameters` for each; older ones say the first in the usual keys and keep a key for the base
/// of the second, which is never stretched.
fn ropes(config: &ConfigJson, head_dim: usize) -> Result<Vec<Rope>, ModelError> {
    let (full_theta, local_theta) =
        (config.required_number("rope_theta")?, config.required_number("rope_local_base_freq")?);
    let parameters = config.object("rope_parameters")?;
    let of_kind = |kind: &str| match &parameters {
        Some(parameters) => parameters.object(kind),
        None => Ok(None),
    };
    let full = match of_kind("full_attention")? {
        Some(full) => Some(full),
        None => config.object("rope_scaling")?,
    };
    let local = of_kind("sliding_attention")?;
    Ok(vec![
        from_config::rope_with(config, full.as_ref(), full_theta, head_dim)?,
        from_config::rope_with(config, local.as_ref(), local_theta, head_dim)?,
    ])
}

fn slides(layer_idx: usize, pattern: usize) -> bool {
    !(layer_idx + 1).is_multiple_of(pattern)
}

fn spec_from_gguf(model: GgufModel<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = model.base()?;
    gemma2::set_common(&mut spec);
    spec.activation = Activation::GeluTanh;
    if spec.layers.len() == LAYERS_OF_27B {
        spec.attention.scale = 1.0 / ((spec.hidden_size / spec.num_heads.max(1)) as f32).sqrt();
    }
    spec.attention.head_norms = true;
    spec.attention.soft_cap = model.number("attn_logit_softcapping")?;
    spec.logit_soft_cap = model.number("final_logit_softcapping")?;
    let theta = model.number("rope.freq_base_swa")?.unwrap_or(LOCAL_THETA);
    let rotary_dim = spec.ropes[0].rotary_dim;
    spec.ropes.push(Rope { theta, rotary_dim, scaling: RopeScaling::None });
    let window = model.window()?;
    let pattern = model.count("attention.sliding_window_pattern")?.unwrap_or(DEFAULT_PATTERN);
    for (layer_idx, layer) in spec.layers.iter_mut().enumerate() {
        let slides = slides(layer_idx, pattern);
        layer.window = window.filter(|_| slides);
        layer.rope_idx = usize::from(slides);
    }
    Ok(spec)
}

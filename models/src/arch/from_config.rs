//! What the families' config.json say in the same words.

use std::num::NonZeroUsize;

use serde_json::{Value, json};

use super::config_json::ConfigJson;
use crate::error::ModelError;
use crate::spec::{Activation, Attention, DecoderSpec, LayerSpec, MAX_LAYERS, Norms, Rope, RopeScaling};

/// transformers' default where config.json is silent.
const DEFAULT_THETA: f32 = 10_000.0;

/// A spec of everything that most families share; a family changes what is its own.
pub(super) fn base(config: &ConfigJson, architecture: &'static str) -> Result<DecoderSpec, ModelError> {
    config.refuse("attention_bias", &[json!(false)])?;
    config.refuse("mlp_bias", &[json!(false)])?;
    config.refuse("quantization_config", &[])?;
    let hidden_size = config.required_count("hidden_size")?;
    let num_heads = config.required_count("num_attention_heads")?;
    let head_dim = config.count("head_dim")?.unwrap_or(hidden_size / num_heads.max(1));
    let layer = LayerSpec::plain(config.required_count("intermediate_size")?);
    Ok(DecoderSpec {
        architecture,
        hidden_size,
        num_heads,
        num_kv_heads: config.count("num_key_value_heads")?.unwrap_or(num_heads),
        head_dim,
        vocab_size: config.required_count("vocab_size")?,
        max_positions: config.required_count("max_position_embeddings")?,
        embedding_scale: None,
        norm_eps: config.required_number("rms_norm_eps")?,
        norms: Norms::Pre,
        attention: Attention::plain(head_dim),
        activation: activation(config)?,
        ropes: vec![rope(config, head_dim)?],
        layers: vec![layer; num_layers(config)?],
        logit_soft_cap: None,
        tied_head: config.bool("tie_word_embeddings")?.unwrap_or(false),
    })
}

/// How many layers there are, before room is made for them.
fn num_layers(config: &ConfigJson) -> Result<usize, ModelError> {
    let num_layers = config.required_count("num_hidden_layers")?;
    if num_layers > MAX_LAYERS {
        return Err(config.malformed(format!("`num_hidden_layers` is {num_layers}, limit {MAX_LAYERS}")));
    }
    Ok(num_layers)
}

/// The gate's function, under either of its keys.
fn activation(config: &ConfigJson) -> Result<Activation, ModelError> {
    let key = if config.text("hidden_activation")?.is_some() { "hidden_activation" } else { "hidden_act" };
    match config.text(key)? {
        None | Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            let supported = "supported are silu and gelu_pytorch_tanh".to_owned();
            Err(config.unsupported(key, &json!(other), supported))
        }
    }
}

/// How far a token sees, if that is limited.
pub(super) fn window(config: &ConfigJson) -> Result<Option<NonZeroUsize>, ModelError> {
    match config.count("sliding_window")?.map(NonZeroUsize::new) {
        Some(None) => Err(config.unsupported("sliding_window", &json!(0), "at least 1, or null".to_owned())),
        Some(window) => Ok(window),
        None => Ok(None),
    }
}

/// How many experts there are, under either of the keys.
pub(super) fn num_experts(config: &ConfigJson) -> Result<usize, ModelError> {
    match config.count("num_experts")? {
        Some(num_experts) => Ok(num_experts),
        None => config.required_count("num_local_experts"),
    }
}

/// Whether each layer's window slides: as `layer_types` says, or else as `by_default` does.
pub(super) fn sliding_layers(
    config: &ConfigJson,
    num_layers: usize,
    by_default: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, ModelError> {
    let Some(types) = config.texts("layer_types")? else {
        return Ok((0..num_layers).map(by_default).collect());
    };
    if types.len() != num_layers {
        let problem = format!("`layer_types` names {} layers, there are {num_layers}", types.len());
        return Err(config.malformed(problem));
    }
    let slides = types.into_iter().map(|kind| match kind {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => {
            let supported = "supported are full_attention and sliding_attention".to_owned();
            Err(config.unsupported("layer_types", &json!(other), supported))
        }
    });
    slides.collect()
}

/// The rope of a family that has one.
///
/// Newer files keep all rotary numbers in `rope_parameters`; older ones have `rope_theta` and `rope_scaling`.
fn rope(config: &ConfigJson, head_dim: usize) -> Result<Rope, ModelError> {
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    rope_with(config, parameters.as_ref(), config.number("rope_theta")?.unwrap_or(DEFAULT_THETA), head_dim)
}

/// The rope that `parameters` describe; what they leave out, `config` or `theta` says.
pub(super) fn rope_with(
    config: &ConfigJson,
    parameters: Option<&ConfigJson>,
    theta: f32,
    head_dim: usize,
) -> Result<Rope, ModelError> {
    let number = |key: &str| match parameters {
        Some(parameters) => parameters.number(key),
        None => Ok(None),
    };
    let partial = match number("partial_rotary_factor")? {
        Some(factor) => Some(factor),
        None => config.number("partial_rotary_factor")?,
    };
    let rotary_dim = partial.map_or(head_dim, |factor| (head_dim as f32 * factor) as usize);
    let scaling = match parameters {
        Some(parameters) => scaling(config, parameters)?,
        None => RopeScaling::None,
    };
    Ok(Rope { theta: number("rope_theta")?.unwrap_or(theta), rotary_dim, scaling })
}

fn scaling(config: &ConfigJson, parameters: &ConfigJson) -> Result<RopeScaling, ModelError> {
    let kind = match parameters.text("rope_type")? {
        Some(kind) => kind,
        None => parameters.text("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: parameters.required_number("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: parameters.required_number("factor")?,
            low_freq_factor: parameters.required_number("low_freq_factor")?,
            high_freq_factor: parameters.required_number("high_freq_factor")?,
            original_max_positions: parameters.required_number("original_max_position_embeddings")?,
        }),
        "longrope" | "su" => long_scaling(config, parameters),
        other => Err(parameters.unsupported(
            "rope_type",
            &Value::String(other.to_owned()),
            "supported are default, linear, llama3 and longrope".to_owned(),
        )),
    }
}

fn long_scaling(config: &ConfigJson, parameters: &ConfigJson) -> Result<RopeScaling, ModelError> {
    // Kept by the mixture of Phi-3.5, whose attention factors differ for short and long contexts.
    parameters.refuse("short_mscale", &[])?;
    parameters.refuse("long_mscale", &[])?;
    let key = "original_max_position_embeddings";
    let original_max_positions = match config.count(key)? {
        Some(original) => original,
        None => parameters.required_count(key)?,
    };
    let factor = match parameters.number("factor")? {
        Some(factor) => f64::from(factor),
        None => config.required_count("max_position_embeddings")? as f64 / original_max_positions as f64,
    };
    let attention_factor = match parameters.number("attention_factor")? {
        Some(factor) => factor,
        None => long_attention_factor(factor, original_max_positions),
    };
    Ok(RopeScaling::Long {
        short: parameters.required_numbers("short_factor")?,
        long: parameters.required_numbers("long_factor")?,
        original_max_positions,
        attention_factor,
    })
}

/// `sqrt(1 + ln(factor) / ln(original_max_positions))`, as the paper on `LongRoPE` recommends.
fn long_attention_factor(factor: f64, original_max_positions: usize) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (1.0 + factor.ln() / (original_max_positions as f64).ln()).sqrt() as f32
}

//! The Llama family: Llama 2, Llama 3.x and `SmolLM2`, and whatever else calls itself `llama`.

use serde_json::{Value, json};

use super::config_json::ConfigJson;
use super::{Architecture, LayerNames, RopeRows, WeightNames};
use crate::error::ModelError;
use crate::spec::{Activation, DecoderSpec, Rope, RopeScaling};
use crate::weights::{GgufMetadata, WeightStore};

/// transformers' default where config.json is silent.
const DEFAULT_THETA: f32 = 10_000.0;

pub(super) const LLAMA: Architecture = Architecture {
    gguf_name: "llama",
    model_types: &["llama"],
    spec_from_config,
    spec_from_gguf,
    hf_names: WeightNames {
        embedding: "model.embed_tokens.weight",
        final_norm: "model.norm.weight",
        head: "lm_head.weight",
        rope_divisors: None,
        layer_prefix: "model.layers.",
        layer: LayerNames {
            attention_norm: "input_layernorm.weight",
            q: "self_attn.q_proj.weight",
            k: "self_attn.k_proj.weight",
            v: "self_attn.v_proj.weight",
            attention_output: "self_attn.o_proj.weight",
            ffn_norm: "post_attention_layernorm.weight",
            gate: "mlp.gate_proj.weight",
            up: "mlp.up_proj.weight",
            down: "mlp.down_proj.weight",
        },
        ignored_suffixes: &[".rotary_emb.inv_freq"],
        rope_rows: RopeRows::Halves,
    },
    gguf_names: WeightNames {
        embedding: "token_embd.weight",
        final_norm: "output_norm.weight",
        head: "output.weight",
        rope_divisors: Some("rope_freqs.weight"),
        layer_prefix: "blk.",
        layer: LayerNames {
            attention_norm: "attn_norm.weight",
            q: "attn_q.weight",
            k: "attn_k.weight",
            v: "attn_v.weight",
            attention_output: "attn_output.weight",
            ffn_norm: "ffn_norm.weight",
            gate: "ffn_gate.weight",
            up: "ffn_up.weight",
            down: "ffn_down.weight",
        },
        ignored_suffixes: &[".attn_rot_embd", ".rope_freqs.weight"],
        rope_rows: RopeRows::Interleaved,
    },
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    config.refuse("hidden_act", &[json!("silu"), json!("swish")])?;
    config.refuse("attention_bias", &[json!(false)])?;
    config.refuse("mlp_bias", &[json!(false)])?;
    config.refuse("sliding_window", &[])?;
    config.refuse("partial_rotary_factor", &[json!(1.0), json!(1)])?;
    config.refuse("quantization_config", &[])?;
    let hidden_size = config.required_count("hidden_size")?;
    let num_heads = config.required_count("num_attention_heads")?;
    Ok(DecoderSpec {
        architecture: LLAMA.gguf_name,
        num_layers: config.required_count("num_hidden_layers")?,
        hidden_size,
        num_heads,
        num_kv_heads: config.count("num_key_value_heads")?.unwrap_or(num_heads),
        head_dim: config.count("head_dim")?.unwrap_or(hidden_size / num_heads.max(1)),
        ffn_size: config.required_count("intermediate_size")?,
        vocab_size: config.required_count("vocab_size")?,
        max_positions: config.required_count("max_position_embeddings")?,
        norm_eps: config.required_number("rms_norm_eps")?,
        activation: Activation::Silu,
        rope: rope_from_config(config)?,
        tied_head: config.bool("tie_word_embeddings")?.unwrap_or(false),
    })
}

/// Newer files keep all rotary numbers in `rope_parameters`; older ones have `rope_theta` and `rope_scaling`.
fn rope_from_config(config: &ConfigJson) -> Result<Rope, ModelError> {
    let parameters = config.object("rope_parameters")?;
    let scaling = match &parameters {
        Some(_) => None,
        None => config.object("rope_scaling")?,
    };
    let of_parameters = match &parameters {
        Some(parameters) => parameters.number("rope_theta")?,
        None => None,
    };
    let theta = match of_parameters {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(DEFAULT_THETA),
    };
    let scaling = match parameters.or(scaling) {
        Some(scaling) => scaling_from_config(&scaling)?,
        None => RopeScaling::None,
    };
    Ok(Rope { theta, scaling })
}

fn scaling_from_config(scaling: &ConfigJson) -> Result<RopeScaling, ModelError> {
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: scaling.required_number("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: scaling.required_number("factor")?,
            low_freq_factor: scaling.required_number("low_freq_factor")?,
            high_freq_factor: scaling.required_number("high_freq_factor")?,
            original_max_positions: scaling.required_number("original_max_position_embeddings")?,
        }),
        other => Err(scaling.unsupported(
            "rope_type",
            &Value::String(other.to_owned()),
            "supported are default, linear and llama3".to_owned(),
        )),
    }
}

fn spec_from_gguf(metadata: &GgufMetadata, store: &WeightStore) -> Result<DecoderSpec, ModelError> {
    let count = |key: &str| metadata.required_u32(&format!("llama.{key}")).map(|count| count as usize);
    let optional = |key: &str| -> Result<Option<usize>, ModelError> {
        Ok(metadata.u32(&format!("llama.{key}"))?.map(|count| count as usize))
    };
    let hidden_size = count("embedding_length")?;
    let num_heads = count("attention.head_count")?;
    let head_dim = optional("attention.key_length")?.unwrap_or(hidden_size / num_heads.max(1));
    let refuse = |key: &str, harmless: usize| match optional(key)? {
        Some(value) if value != harmless => Err(ModelError::Unsupported {
            path: metadata.path().to_owned(),
            feature: format!("`llama.{key}` {value}"),
            supported: format!("supported is {harmless}"),
        }),
        _ => Ok(()),
    };
    refuse("attention.value_length", head_dim)?;
    refuse("rope.dimension_count", head_dim)?;
    refuse("expert_count", 0)?;
    refuse("attention.sliding_window", 0)?;
    let vocab_size = match optional("vocab_size")? {
        Some(vocab_size) => vocab_size,
        None => metadata.texts("tokenizer.ggml.tokens")?.len(),
    };
    Ok(DecoderSpec {
        architecture: LLAMA.gguf_name,
        num_layers: count("block_count")?,
        hidden_size,
        num_heads,
        num_kv_heads: optional("attention.head_count_kv")?.unwrap_or(num_heads),
        head_dim,
        ffn_size: count("feed_forward_length")?,
        vocab_size,
        max_positions: count("context_length")?,
        norm_eps: metadata.required_f64("llama.attention.layer_norm_rms_epsilon")? as f32,
        activation: Activation::Silu,
        rope: rope_from_gguf(metadata, store, head_dim)?,
        tied_head: !store.contains(LLAMA.gguf_names.head),
    })
}

fn rope_from_gguf(metadata: &GgufMetadata, store: &WeightStore, head_dim: usize) -> Result<Rope, ModelError> {
    let theta = metadata.f64("llama.rope.freq_base")?.map_or(DEFAULT_THETA, |theta| theta as f32);
    let divisors = LLAMA.gguf_names.rope_divisors.filter(|name| store.contains(name));
    let kind = metadata.text("llama.rope.scaling.type")?.unwrap_or("none");
    let scaling = match (divisors, kind) {
        (Some(name), "none" | "llama3") => {
            RopeScaling::Divisors(store.tensor(name, &[head_dim / 2])?.to_f32())
        }
        (None, "none") => RopeScaling::None,
        (None, "linear") => {
            RopeScaling::Linear { factor: metadata.required_f64("llama.rope.scaling.factor")? as f32 }
        }
        (_, other) => {
            return Err(ModelError::Unsupported {
                path: metadata.path().to_owned(),
                feature: format!("`llama.rope.scaling.type` {other}"),
                supported: "supported are none and linear, or `rope_freqs.weight` without either".to_owned(),
            });
        }
    };
    Ok(Rope { theta, scaling })
}

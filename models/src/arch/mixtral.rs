//! Mixtral: Mistral with several feed-forward networks, of which each token goes through two.
//!
//! Its GGUF files call themselves `llama`.

use serde_json::json;

use super::names::{ExpertNames, ExpertTensors, HF, HF_LAYER, LayerNames, WeightNames};
use super::{Architecture, ConfigJson, HfForm, from_config};
use crate::error::ModelError;
use crate::spec::{DecoderSpec, ExpertWeighting, FeedForward};

pub(super) const MIXTRAL: Architecture = Architecture {
    name: "mixtral",
    hf: HfForm { model_types: &["mixtral"], spec: spec_from_config, names: HF_NAMES },
    gguf: None,
};

const HF_NAMES: WeightNames = WeightNames {
    layer: LayerNames {
        experts: ExpertNames {
            router: "block_sparse_moe.gate.weight",
            gate: ExpertTensors::Each("block_sparse_moe.experts.", ".w1.weight"),
            up: ExpertTensors::Each("block_sparse_moe.experts.", ".w3.weight"),
            down: ExpertTensors::Each("block_sparse_moe.experts.", ".w2.weight"),
        },
        ..HF_LAYER
    },
    ..HF
};

fn spec_from_config(config: &ConfigJson) -> Result<DecoderSpec, ModelError> {
    let config = config.with_defaults(&json!({ "rope_theta": 1_000_000.0 }));
    let mut spec = from_config::base(&config, "mixtral")?;
    let window = from_config::window(&config)?;
    let feed_forward = FeedForward::Experts {
        num_experts: from_config::num_experts(&config)?,
        num_active: config.required_count("num_experts_per_tok")?,
        size: config.required_count("intermediate_size")?,
        weighting: ExpertWeighting::OfChosen,
    };
    for layer in &mut spec.layers {
        (layer.window, layer.feed_forward) = (window, feed_forward);
    }
    Ok(spec)
}

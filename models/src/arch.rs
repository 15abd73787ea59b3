//! The architectures, as data: from a configuration to a [`DecoderSpec`] and the names of its weights.
//!
//! Each of the families below is described in a file of its own, in both formats, without code that computes. What
//! they share is read by `from_config` and `from_gguf`, and named in `names`. If an architecture needs something that
//! [`DecoderSpec`] cannot say, the decoder is extended for all.

use std::path::Path;

use crate::error::ModelError;
use crate::spec::DecoderSpec;
use crate::weights::{GgufMetadata, WeightStore};

pub(crate) mod config_json;
mod from_config;
mod from_gguf;
mod names;

mod gemma2;
mod gemma3;
mod llama;
mod mistral;
mod mixtral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;

use config_json::ConfigJson;
use from_gguf::GgufModel;

pub(crate) use names::{ExpertTensors, Fused, NormWeights, RopeRows, WeightNames};

/// Everything that is known about one family.
pub(crate) struct Architecture {
    /// As it writes itself in most places.
    pub(crate) name: &'static str,
    pub(crate) hf: HfForm,
    /// Absent if its GGUF files call themselves by another family's name.
    pub(crate) gguf: Option<GgufForm>,
}

/// A family's folders.
pub(crate) struct HfForm {
    /// `model_type` in its config.json.
    pub(crate) model_types: &'static [&'static str],
    /// Reads a config.json.
    pub(crate) spec: fn(&ConfigJson) -> Result<DecoderSpec, ModelError>,
    pub(crate) names: WeightNames,
}

/// A family's GGUF files.
pub(crate) struct GgufForm {
    /// `general.architecture`, with which its keys begin.
    architecture: &'static str,
    /// Reads the metadata and, where they say more, the tensors.
    spec: fn(GgufModel<'_>) -> Result<DecoderSpec, ModelError>,
    pub(crate) names: WeightNames,
}

pub(crate) const ALL: [&Architecture; 9] = [
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &phi3::PHI3,
    &qwen3_moe::QWEN3_MOE,
    &mixtral::MIXTRAL,
];

impl HfForm {
    /// The family of a config.json.
    pub(crate) fn of(config: &ConfigJson) -> Result<&'static Self, ModelError> {
        let model_type = config.required_text("model_type")?;
        ALL.into_iter()
            .map(|architecture| &architecture.hf)
            .find(|form| form.model_types.contains(&model_type))
            .ok_or_else(|| unknown(config.path(), model_type))
    }
}

impl GgufForm {
    /// The family of a GGUF file.
    pub(crate) fn of(metadata: &GgufMetadata) -> Result<&'static Self, ModelError> {
        let key = "general.architecture";
        let name = metadata.text(key)?.ok_or_else(|| metadata.missing(key))?;
        ALL.into_iter()
            .filter_map(|architecture| architecture.gguf.as_ref())
            .find(|form| form.architecture == name)
            .ok_or_else(|| unknown(metadata.path(), name))
    }

    /// Reads the metadata and, where they say more, the tensors.
    pub(crate) fn spec(
        &self,
        metadata: &GgufMetadata,
        store: &WeightStore,
    ) -> Result<DecoderSpec, ModelError> {
        (self.spec)(GgufModel { architecture: self.architecture, metadata, store })
    }
}

fn unknown(path: &Path, name: &str) -> ModelError {
    let known: Vec<&str> = ALL.iter().map(|architecture| architecture.name).collect();
    ModelError::Unsupported {
        path: path.to_owned(),
        feature: format!("architecture `{name}`"),
        supported: format!("supported are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;

//! The architectures, as data: from a configuration to a [`DecoderSpec`] and the names of its weights.
//!
//! Each file below describes one family in both formats and holds no code that computes. If an architecture needs
//! something that [`DecoderSpec`] cannot say, the decoder is extended for all.

use std::collections::BTreeSet;

use crate::error::ModelError;
use crate::spec::DecoderSpec;
use crate::weights::{GgufMetadata, WeightStore};

pub(crate) mod config_json;
mod llama;

use config_json::ConfigJson;

/// Everything that is known about one family.
pub(crate) struct Architecture {
    /// `general.architecture` of its GGUF files.
    pub(crate) gguf_name: &'static str,
    /// `model_type` in its config.json.
    pub(crate) model_types: &'static [&'static str],
    /// Reads a config.json.
    pub(crate) spec_from_config: fn(&ConfigJson) -> Result<DecoderSpec, ModelError>,
    /// Reads a GGUF file's metadata and, where they say more, its tensors.
    pub(crate) spec_from_gguf: fn(&GgufMetadata, &WeightStore) -> Result<DecoderSpec, ModelError>,
    /// Names in safetensors files.
    pub(crate) hf_names: WeightNames,
    /// Names in GGUF files.
    pub(crate) gguf_names: WeightNames,
}

/// What each weight is called in one format, and what must be done to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightNames {
    pub(crate) embedding: &'static str,
    pub(crate) final_norm: &'static str,
    /// Absent from the file if the head is tied; some files repeat the embedding under it.
    pub(crate) head: &'static str,
    /// Divisors of the rotary frequencies, a tensor in some GGUF files.
    pub(crate) rope_divisors: Option<&'static str>,
    /// What stands before a layer's index.
    pub(crate) layer_prefix: &'static str,
    pub(crate) layer: LayerNames,
    /// Ends of names that old tools wrote although they follow from the configuration.
    pub(crate) ignored_suffixes: &'static [&'static str],
    /// Order of the rows of q and k within a head.
    pub(crate) rope_rows: RopeRows,
}

/// Names after `{layer_prefix}{layer_idx}.`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNames {
    pub(crate) attention_norm: &'static str,
    pub(crate) q: &'static str,
    pub(crate) k: &'static str,
    pub(crate) v: &'static str,
    pub(crate) attention_output: &'static str,
    pub(crate) ffn_norm: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

/// Which two rows of a head's q or k turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopeRows {
    /// Row `i` and row `i + head_dim / 2`: what the decoder's rope expects.
    Halves,
    /// Rows `2 i` and `2 i + 1`, as llama.cpp stores Llama; rows are put back into halves at load.
    Interleaved,
}

pub(crate) const ALL: [&Architecture; 1] = [&llama::LLAMA];

impl Architecture {
    /// The family of a config.json.
    pub(crate) fn of_config(config: &ConfigJson) -> Result<&'static Self, ModelError> {
        let model_type = config.required_text("model_type")?;
        ALL.into_iter()
            .find(|architecture| architecture.model_types.contains(&model_type))
            .ok_or_else(|| unknown(config.path(), model_type))
    }

    /// The family of a GGUF file.
    pub(crate) fn of_gguf(metadata: &GgufMetadata) -> Result<&'static Self, ModelError> {
        let key = "general.architecture";
        let name = metadata.text(key)?.ok_or_else(|| metadata.missing(key))?;
        ALL.into_iter()
            .find(|architecture| architecture.gguf_name == name)
            .ok_or_else(|| unknown(metadata.path(), name))
    }
}

impl WeightNames {
    /// The full name of a layer's weight.
    pub(crate) fn in_layer(&self, layer_idx: usize, name: &str) -> String {
        format!("{}{layer_idx}.{name}", self.layer_prefix)
    }

    /// Compares the names in `store` with those that `spec` needs.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`] lists every missing and every left-over tensor.
    pub(crate) fn check(&self, spec: &DecoderSpec, store: &WeightStore) -> Result<(), ModelError> {
        let mut needed = BTreeSet::from([self.embedding.to_owned(), self.final_norm.to_owned()]);
        if !spec.tied_head {
            needed.insert(self.head.to_owned());
        }
        for layer_idx in 0..spec.num_layers {
            needed.extend(self.layer.all().into_iter().map(|name| self.in_layer(layer_idx, name)));
        }
        let known = |name: &str| {
            needed.contains(name)
                || name == self.head
                || Some(name) == self.rope_divisors
                || self.ignored_suffixes.iter().any(|suffix| name.ends_with(suffix))
        };
        let left_over: Vec<String> = store.names().filter(|name| !known(name)).map(str::to_owned).collect();
        let missing: Vec<String> = needed.iter().filter(|name| !store.contains(name)).cloned().collect();
        if missing.is_empty() && left_over.is_empty() {
            return Ok(());
        }
        Err(ModelError::Tensors { path: store.origin().to_owned(), missing, left_over })
    }
}

impl LayerNames {
    /// In the order of the fields.
    pub(crate) fn all(&self) -> [&'static str; 9] {
        [
            self.attention_norm,
            self.q,
            self.k,
            self.v,
            self.attention_output,
            self.ffn_norm,
            self.gate,
            self.up,
            self.down,
        ]
    }
}

fn unknown(path: &std::path::Path, name: &str) -> ModelError {
    let known: Vec<&str> = ALL.iter().map(|architecture| architecture.gguf_name).collect();
    ModelError::Unsupported {
        path: path.to_owned(),
        feature: format!("architecture `{name}`"),
        supported: format!("supported are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;

//! What the families' GGUF files say in the same words.

use std::num::NonZeroUsize;

use super::names::{GGUF, ROPE_DIVISORS, ROPE_LONG, ROPE_SHORT};
use crate::error::ModelError;
use crate::spec::{
    Activation, Attention, DecoderSpec, ExpertWeighting, FeedForward, LayerSpec, MAX_LAYERS, Norms, Rope,
    RopeScaling,
};
use crate::weights::{GgufMetadata, WeightStore};

/// llama.cpp's default where a file is silent.
const DEFAULT_THETA: f32 = 10_000.0;

/// A file whose keys begin with its architecture.
#[derive(Clone, Copy)]
pub(super) struct GgufModel<'a> {
    pub(super) architecture: &'static str,
    pub(super) metadata: &'a GgufMetadata,
    pub(super) store: &'a WeightStore,
}

impl GgufModel<'_> {
    /// A key of this architecture.
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A count, if it is there.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        Ok(self.metadata.u32(&self.key(key))?.map(|count| count as usize))
    }

    /// A count that must be there.
    pub(super) fn required_count(&self, key: &str) -> Result<usize, ModelError> {
        self.metadata.required_u32(&self.key(key)).map(|count| count as usize)
    }

    /// A number, if it is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.metadata.f64(&self.key(key))?.map(|number| number as f32))
    }

    /// Refuses a count that is there and anything but `harmless`.
    pub(super) fn refuse(&self, key: &str, harmless: usize) -> Result<(), ModelError> {
        match self.count(key)? {
            Some(value) if value != harmless => {
                Err(self.unsupported(key, &value.to_string(), format!("supported is {harmless}")))
            }
            _ => Ok(()),
        }
    }

    /// The error for a value that the decoder does not compute.
    pub(super) fn unsupported(&self, key: &str, value: &str, supported: String) -> ModelError {
        ModelError::Unsupported {
            path: self.metadata.path().to_owned(),
            feature: format!("`{}` {value}", self.key(key)),
            supported,
        }
    }

    /// How far a token sees, if that is limited; zero stands for no limit.
    pub(super) fn window(&self) -> Result<Option<NonZeroUsize>, ModelError> {
        Ok(self.count("attention.sliding_window")?.and_then(NonZeroUsize::new))
    }

    /// Gives every layer experts of `size`, if the file has any.
    pub(super) fn set_experts(&self, spec: &mut DecoderSpec, size: usize) -> Result<(), ModelError> {
        let Some(num_experts) = self.count("expert_count")?.filter(|count| *count > 0) else { return Ok(()) };
        self.refuse("expert_shared_count", 0)?;
        let feed_forward = FeedForward::Experts {
            num_experts,
            num_active: self.required_count("expert_used_count")?,
            size,
            // A file does not say; of the families here all published models do so.
            weighting: ExpertWeighting::OfChosen,
        };
        for layer in &mut spec.layers {
            layer.feed_forward = feed_forward;
        }
        Ok(())
    }

    /// A spec of everything that most families share; a family changes what is its own.
    pub(super) fn base(&self) -> Result<DecoderSpec, ModelError> {
        let hidden_size = self.required_count("embedding_length")?;
        let num_heads = self.required_count("attention.head_count")?;
        let head_dim = self.count("attention.key_length")?.unwrap_or(hidden_size / num_heads.max(1));
        self.refuse("attention.value_length", head_dim)?;
        let vocab_size = match self.count("vocab_size")? {
            Some(vocab_size) => vocab_size,
            None => self.metadata.texts("tokenizer.ggml.tokens")?.len(),
        };
        let layer = LayerSpec::plain(self.required_count("feed_forward_length")?);
        let norm_eps = self.metadata.required_f64(&self.key("attention.layer_norm_rms_epsilon"))? as f32;
        Ok(DecoderSpec {
            architecture: self.architecture,
            hidden_size,
            num_heads,
            num_kv_heads: self.count("attention.head_count_kv")?.unwrap_or(num_heads),
            head_dim,
            vocab_size,
            max_positions: self.required_count("context_length")?,
            embedding_scale: None,
            norm_eps,
            norms: Norms::Pre,
            attention: Attention::plain(head_dim),
            activation: Activation::Silu,
            ropes: vec![self.rope(head_dim)?],
            layers: vec![layer; self.num_layers()?],
            logit_soft_cap: None,
            tied_head: !self.store.contains(GGUF.head),
        })
    }

    /// How many layers there are, before room is made for them.
    fn num_layers(&self) -> Result<usize, ModelError> {
        let num_layers = self.required_count("block_count")?;
        if num_layers > MAX_LAYERS {
            return Err(ModelError::Malformed {
                path: self.metadata.path().to_owned(),
                problem: format!("`{}` is {num_layers}, limit {MAX_LAYERS}", self.key("block_count")),
            });
        }
        Ok(num_layers)
    }

    fn rope(&self, head_dim: usize) -> Result<Rope, ModelError> {
        let rotary_dim = self.count("rope.dimension_count")?.unwrap_or(head_dim);
        let theta = self.number("rope.freq_base")?.unwrap_or(DEFAULT_THETA);
        let scaling = self.scaling(rotary_dim / 2)?;
        if !matches!(scaling, RopeScaling::Long { .. })
            && let Some(factor) = self.number("rope.scaling.attn_factor")?
            && factor.to_bits() != 1.0_f32.to_bits()
        {
            let supported = "supported is 1, but with longrope".to_owned();
            return Err(self.unsupported("rope.scaling.attn_factor", &factor.to_string(), supported));
        }
        Ok(Rope { theta, rotary_dim, scaling })
    }

    fn scaling(&self, num_pairs: usize) -> Result<RopeScaling, ModelError> {
        if let Some(factor) = self.number("rope.scale_linear")?
            && factor.to_bits() != 1.0_f32.to_bits()
        {
            let supported = "write it as `rope.scaling.type` and `rope.scaling.factor`".to_owned();
            return Err(self.unsupported("rope.scale_linear", &factor.to_string(), supported));
        }
        let divisors = |name| Ok::<_, ModelError>(self.store.tensor(name, &[num_pairs])?.to_f32());
        let kind = match self.metadata.text(&self.key("rope.scaling.type"))? {
            Some(kind) => kind,
            // As llama.cpp has it: a factor alone stretches linearly, and zero stands for none.
            None => match self.number("rope.scaling.factor")? {
                Some(factor) if factor != 0.0 && factor.to_bits() != 1.0_f32.to_bits() => "linear",
                Some(_) | None => "none",
            },
        };
        match kind {
            "none" | "longrope" if self.store.contains(ROPE_LONG) => Ok(RopeScaling::Long {
                short: divisors(ROPE_SHORT)?,
                long: divisors(ROPE_LONG)?,
                original_max_positions: self.required_count("rope.scaling.original_context_length")?,
                attention_factor: self.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            }),
            "none" | "llama3" if self.store.contains(ROPE_DIVISORS) => {
                Ok(RopeScaling::Divisors(divisors(ROPE_DIVISORS)?))
            }
            "none" => Ok(RopeScaling::None),
            "linear" if !self.store.contains(ROPE_DIVISORS) && !self.store.contains(ROPE_LONG) => {
                let factor = self.metadata.required_f64(&self.key("rope.scaling.factor"))? as f32;
                Ok(RopeScaling::Linear { factor })
            }
            other => {
                let supported = "supported are none, linear, llama3 and longrope with their tensors, if any";
                Err(self.unsupported("rope.scaling.type", other, supported.to_owned()))
            }
        }
    }
}

//! What kind of transformer a model is: the data that the one decoder is driven by.
//!
//! A spec holds only what the decoder computes. Whatever else a configuration asks for is refused where the spec is
//! made, in [`crate::arch`], so that no option can be read and then ignored.

use std::num::NonZeroUsize;

use spillway_kernels::DType;
pub use spillway_kernels::ops::{Activation, ExpertWeighting};

use crate::kv_cache::KvLayout;

mod rope;

pub use rope::{Rope, RopeScaling};

/// Most layers of a model: several times as many as any has. A file may claim more than memory has room for.
pub(crate) const MAX_LAYERS: usize = 4096;
/// Most experts of a layer, for the same reason.
const MAX_EXPERTS: usize = 4096;
/// Most of everything else that is counted: kernels take these numbers as 32-bit integers.
const MAX_SIZE: usize = i32::MAX as usize;

/// The shape and the options of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// The architecture's name.
    pub architecture: &'static str,
    /// Columns of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Tokens of the vocabulary: rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub max_positions: usize,
    /// What embeddings are multiplied with; rounded to the type of the table if that is of 16 bits.
    pub embedding_scale: Option<f32>,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Where norms stand.
    pub norms: Norms,
    /// What all layers' attention has in common.
    pub attention: Attention,
    /// Between the gate and the feed-forward's product.
    pub activation: Activation,
    /// How positions enter attention; each layer names one of them.
    pub ropes: Vec<Rope>,
    /// The transformer layers.
    pub layers: Vec<LayerSpec>,
    /// The last logits become `cap * tanh(logit / cap)`.
    pub logit_soft_cap: Option<f32>,
    /// Whether the head is the embedding table.
    pub tied_head: bool,
}

/// Where a layer's norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and before the feed-forward part.
    Pre,
    /// Before and after each of them: what comes out is normalised before it is added to the residual.
    Sandwich,
}

/// What all layers' attention has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Scores are multiplied with it.
    pub scale: f32,
    /// Scaled scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// Whether something is added to q, k and v.
    pub qkv_bias: bool,
    /// Whether each head of q and k is normalised before it turns.
    pub head_norms: bool,
}

/// One transformer layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerSpec {
    /// Positions that a token sees, its own included; absent for all before it.
    pub window: Option<NonZeroUsize>,
    /// Which of the spec's ropes turns its heads.
    pub rope_idx: usize,
    /// What follows attention.
    pub feed_forward: FeedForward,
}

/// The second half of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// One gated network for all tokens.
    Dense {
        /// Columns between its products.
        size: usize,
    },
    /// Many gated networks, of which each token goes through a few.
    Experts {
        /// How many there are.
        num_experts: usize,
        /// How many a token goes through.
        num_active: usize,
        /// Columns between the products of each.
        size: usize,
        /// What their results are multiplied with.
        weighting: ExpertWeighting,
    },
}

impl Attention {
    /// Scores scaled by the root of the head's columns, and nothing else.
    pub fn plain(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), soft_cap: None, qkv_bias: false, head_norms: false }
    }
}

impl LayerSpec {
    /// A layer that sees everything, with the first rope and one network of this size.
    pub fn plain(ffn_size: usize) -> Self {
        Self { window: None, rope_idx: 0, feed_forward: FeedForward::Dense { size: ffn_size } }
    }
}

impl FeedForward {
    /// Numbers in its weights.
    fn num_parameters(self, hidden_size: usize) -> Option<usize> {
        match self {
            Self::Dense { size } => size.checked_mul(3)?.checked_mul(hidden_size),
            Self::Experts { num_experts, size, .. } => {
                size.checked_mul(3)?.checked_add(1)?.checked_mul(num_experts)?.checked_mul(hidden_size)
            }
        }
    }

    fn has_experts(&self) -> bool {
        matches!(self, Self::Experts { .. })
    }

    /// Columns between its products.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Dense { size } | Self::Experts { size, .. } => size,
        }
    }

    /// Its numbers and the most that each may be, under names for messages.
    fn counts(self) -> Vec<(&'static str, usize, usize)> {
        match self {
            Self::Dense { size } => vec![("feed-forward size", size, MAX_SIZE)],
            Self::Experts { num_experts, num_active, size, .. } => vec![
                ("experts", num_experts, MAX_EXPERTS),
                ("experts of a token", num_active, MAX_EXPERTS),
                ("expert size", size, MAX_SIZE),
            ],
        }
    }

    /// What is wrong with its numbers taken together, in words.
    fn problem(self) -> Option<String> {
        match self {
            Self::Experts { num_experts, num_active, .. } if num_active > num_experts => {
                Some(format!("a token goes through {num_active} experts, there are {num_experts}"))
            }
            Self::Dense { .. } | Self::Experts { .. } => None,
        }
    }
}

impl DecoderSpec {
    /// Transformer layers.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// Columns of the query part of a fused qkv product.
    pub fn q_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Columns of the key part, and of the value part, of a fused qkv product.
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Columns of the widest feed-forward part.
    pub(crate) fn largest_ffn_size(&self) -> usize {
        self.layers.iter().map(|layer| layer.feed_forward.size()).max().unwrap_or(0)
    }

    /// The KV cache that this model needs, with elements of `dtype`.
    pub fn kv_layout(&self, dtype: DType) -> KvLayout {
        KvLayout {
            num_layers: self.num_layers(),
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            dtype,
        }
    }

    /// Numbers in all weights: `None` if the shape is too large for this machine's words.
    pub fn num_parameters(&self) -> Option<usize> {
        let q_size = self.num_heads.checked_mul(self.head_dim)?;
        let kv_size = self.num_kv_heads.checked_mul(self.head_dim)?;
        let matrices = q_size.checked_add(kv_size)?.checked_mul(2)?;
        let num_norms = match self.norms {
            Norms::Pre => 2,
            Norms::Sandwich => 4,
        };
        let bias = if self.attention.qkv_bias { q_size.checked_add(kv_size.checked_mul(2)?)? } else { 0 };
        let head_norms = if self.attention.head_norms { 2 * self.head_dim } else { 0 };
        let attention = matrices
            .checked_add(num_norms)?
            .checked_mul(self.hidden_size)?
            .checked_add(bias)?
            .checked_add(head_norms)?;
        let layers = self.layers.iter().try_fold(0_usize, |sum, layer| {
            sum.checked_add(attention)?.checked_add(layer.feed_forward.num_parameters(self.hidden_size)?)
        })?;
        let tables = if self.tied_head { 1 } else { 2 };
        layers
            .checked_add(self.vocab_size.checked_mul(self.hidden_size)?.checked_mul(tables)?)?
            .checked_add(self.hidden_size)
    }

    /// What is wrong with the numbers taken together, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let counts = [
            ("layers", self.layers.len(), MAX_LAYERS),
            ("hidden size", self.hidden_size, MAX_SIZE),
            ("heads", self.num_heads, MAX_SIZE),
            ("KV heads", self.num_kv_heads, MAX_SIZE),
            ("head dimension", self.head_dim, MAX_SIZE),
            ("vocabulary size", self.vocab_size, MAX_SIZE),
            ("position limit", self.max_positions, MAX_SIZE),
        ];
        let of_layers = self.layers.iter().flat_map(|layer| layer.feed_forward.counts());
        for (name, value, limit) in counts.into_iter().chain(of_layers) {
            if value == 0 || value > limit {
                return Some(format!("{name} is {value}, must be from 1 to {limit}"));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Some(format!(
                "{} heads do not share {} KV heads evenly",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Some(format!("norm epsilon is {}, must be between 0 and 1", self.norm_eps));
        }
        for (name, value) in [
            ("attention scale", Some(self.attention.scale)),
            ("attention soft cap", self.attention.soft_cap),
            ("logit soft cap", self.logit_soft_cap),
            ("embedding scale", self.embedding_scale),
        ] {
            match value {
                Some(value) if !(value.is_finite() && value > 0.0) => {
                    return Some(format!("{name} is {value}, must be positive"));
                }
                _ => {}
            }
        }
        if self.num_parameters().is_none() {
            return Some("its weights are more than this machine can count".to_owned());
        }
        let mut experts = self.layers.iter().map(|layer| layer.feed_forward).filter(FeedForward::has_experts);
        if let Some(first) = experts.next()
            && experts.any(|other| other != first)
        {
            return Some("layers have different experts, must be of one kind".to_owned());
        }
        let of_layers = self.layers.iter().find_map(|layer| layer.feed_forward.problem());
        of_layers.or_else(|| self.ropes.iter().find_map(|rope| rope.problem(self.head_dim)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small Llama.
    pub(crate) fn small_spec() -> DecoderSpec {
        DecoderSpec {
            architecture: "llama",
            hidden_size: 64,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 16,
            vocab_size: 200,
            max_positions: 96,
            embedding_scale: None,
            norm_eps: 1e-5,
            norms: Norms::Pre,
            attention: Attention::plain(16),
            activation: Activation::Silu,
            ropes: vec![Rope { theta: 1e4, rotary_dim: 16, scaling: RopeScaling::None }],
            layers: vec![LayerSpec::plain(96); 2],
            logit_soft_cap: None,
            tied_head: false,
        }
    }

    #[test]
    fn counts_the_parameters_of_what_a_layer_has() {
        let plain = small_spec();
        let layer = 64 * (64 + 32 + 32 + 64) + 2 * 64 + 3 * 64 * 96;
        assert_eq!(plain.num_parameters(), Some(2 * layer + 2 * 200 * 64 + 64));
        let mut rich = plain;
        rich.norms = Norms::Sandwich;
        rich.attention.qkv_bias = true;
        rich.attention.head_norms = true;
        rich.tied_head = true;
        let layer = layer + 2 * 64 + (64 + 32 + 32) + 2 * 16;
        assert_eq!(rich.num_parameters(), Some(2 * layer + 200 * 64 + 64));
    }

    /// As Qwen3-30B-A3B, whose name counts them.
    #[test]
    fn counts_all_experts() {
        let mut spec = small_spec();
        spec.layers = vec![experts(128, 8); 48];
        (spec.hidden_size, spec.num_heads, spec.num_kv_heads, spec.head_dim) = (2048, 32, 4, 128);
        (spec.vocab_size, spec.attention.head_norms) = (151_936, true);
        assert_eq!(spec.num_parameters(), Some(30_532_122_624));
    }

    fn experts(num_experts: usize, num_active: usize) -> LayerSpec {
        let weighting = ExpertWeighting::OfChosen;
        let feed_forward = FeedForward::Experts { num_experts, num_active, size: 768, weighting };
        LayerSpec { feed_forward, ..LayerSpec::plain(1) }
    }

    #[test]
    fn wrong_numbers_are_named() {
        let problem = |spoil: fn(&mut DecoderSpec)| {
            let mut spec = small_spec();
            spoil(&mut spec);
            spec.problem().unwrap_or_default()
        };
        assert_eq!(problem(|_| {}), "");
        assert_eq!(problem(|spec| spec.num_kv_heads = 3), "4 heads do not share 3 KV heads evenly");
        assert!(problem(|spec| spec.layers.clear()).starts_with("layers is 0, must be from 1"));
        assert_eq!(problem(|spec| spec.logit_soft_cap = Some(0.0)), "logit soft cap is 0, must be positive");
        assert!(problem(|spec| spec.layers[1] = LayerSpec::plain(0)).starts_with("feed-forward size is 0"));
        assert_eq!(
            problem(|spec| spec.layers[1] = experts(4097, 2)),
            "experts is 4097, must be from 1 to 4096"
        );
        let problem = problem(|spec| spec.layers[1] = experts(4, 5));
        assert_eq!(problem, "a token goes through 5 experts, there are 4");
    }

    #[test]
    fn experts_are_of_one_kind() {
        let mut spec = small_spec();
        spec.layers = vec![LayerSpec::plain(96), experts(4, 2), experts(4, 1)];
        assert!(spec.problem().is_some_and(|problem| problem.contains("different experts")));
        spec.layers[2] = experts(4, 2);
        assert_eq!(spec.problem(), None);
    }
}

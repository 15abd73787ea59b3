//! What weights are called in each format, and what must be done to them.

use std::collections::BTreeSet;

use crate::error::ModelError;
use crate::spec::{DecoderSpec, FeedForward, Norms};
use crate::weights::WeightStore;

/// What each weight is called in one format, and what must be done to it.
///
/// Names of weights that a spec does not call for are not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightNames {
    pub(crate) embedding: &'static str,
    pub(crate) final_norm: &'static str,
    /// Absent from the file if the head is tied; some files repeat the embedding under it.
    pub(crate) head: &'static str,
    /// What stands before a layer's index.
    pub(crate) layer_prefix: &'static str,
    pub(crate) layer: LayerNames,
    /// Tensors that the spec is made of.
    pub(crate) spec_tensors: &'static [&'static str],
    /// Beginnings of names that are read as if they were others.
    pub(crate) renames: &'static [Rename],
    /// Beginnings of names of parts of the model that are not served.
    pub(crate) ignored_prefixes: &'static [&'static str],
    /// Ends of names that old tools wrote although they follow from the configuration.
    pub(crate) ignored_suffixes: &'static [&'static str],
    /// Order of the rows of q and k within a head.
    pub(crate) rope_rows: RopeRows,
    /// How the weights of norms are stored.
    pub(crate) norm_weights: NormWeights,
}

/// A beginning of names, and what it is read as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rename {
    pub(crate) prefix: &'static str,
    pub(crate) to: &'static str,
}

/// Names after `{layer_prefix}{layer_idx}.`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNames {
    pub(crate) attention_norm: &'static str,
    pub(crate) qkv: Fused<3>,
    pub(crate) qkv_bias: [&'static str; 3],
    /// Norms of the heads of q and k.
    pub(crate) head_norms: [&'static str; 2],
    pub(crate) attention_output: &'static str,
    /// The sandwich's norm of what attention adds.
    pub(crate) post_attention_norm: &'static str,
    pub(crate) ffn_norm: &'static str,
    pub(crate) gate_up: Fused<2>,
    pub(crate) down: &'static str,
    /// The sandwich's norm of what the feed-forward part adds.
    pub(crate) post_ffn_norm: &'static str,
    pub(crate) experts: ExpertNames,
}

/// The weights of a mixture of experts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpertNames {
    pub(crate) router: &'static str,
    pub(crate) gate: ExpertTensors,
    pub(crate) up: ExpertTensors,
    pub(crate) down: ExpertTensors,
}

/// How one matrix of all experts is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ExpertTensors {
    /// One tensor for each; the expert's index stands between these.
    Each(&'static str, &'static str),
    /// One tensor of three dimensions.
    Stacked(&'static str),
}

/// Matrices that the decoder computes as one, one below the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fused<const N: usize> {
    /// Each is a tensor of its own.
    Apart([&'static str; N]),
    /// The file has them as one already.
    Together(&'static str),
}

/// Which two rows of a head's q or k turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopeRows {
    /// Row `i` and row `i + head_dim / 2`: what the decoder's rope expects.
    Halves,
    /// Rows `2 i` and `2 i + 1`, as llama.cpp stores Llama; rows are put back into halves at load.
    Interleaved,
}

/// What a stored norm weight means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormWeights {
    /// The factor itself.
    Factor,
    /// The factor less one, as Gemma's checkpoints have it.
    FactorLessOne,
}

/// Names of Llama's weights in safetensors files, and of its relatives' where they have the same.
pub(super) const HF: WeightNames = WeightNames {
    embedding: "model.embed_tokens.weight",
    final_norm: "model.norm.weight",
    head: "lm_head.weight",
    layer_prefix: "model.layers.",
    layer: HF_LAYER,
    spec_tensors: &[],
    renames: &[],
    ignored_prefixes: &[],
    ignored_suffixes: &[".rotary_emb.inv_freq"],
    rope_rows: RopeRows::Halves,
    norm_weights: NormWeights::Factor,
};

/// Names within a layer, in safetensors files.
pub(super) const HF_LAYER: LayerNames = LayerNames {
    attention_norm: "input_layernorm.weight",
    qkv: Fused::Apart(["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"]),
    qkv_bias: ["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"],
    head_norms: ["self_attn.q_norm.weight", "self_attn.k_norm.weight"],
    attention_output: "self_attn.o_proj.weight",
    post_attention_norm: "post_attention_layernorm.weight",
    ffn_norm: "post_attention_layernorm.weight",
    gate_up: Fused::Apart(["mlp.gate_proj.weight", "mlp.up_proj.weight"]),
    down: "mlp.down_proj.weight",
    post_ffn_norm: "post_feedforward_layernorm.weight",
    experts: ExpertNames {
        router: "mlp.gate.weight",
        gate: ExpertTensors::Each("mlp.experts.", ".gate_proj.weight"),
        up: ExpertTensors::Each("mlp.experts.", ".up_proj.weight"),
        down: ExpertTensors::Each("mlp.experts.", ".down_proj.weight"),
    },
};

/// Names in GGUF files, where families differ little.
pub(super) const GGUF: WeightNames = WeightNames {
    embedding: "token_embd.weight",
    final_norm: "output_norm.weight",
    head: "output.weight",
    layer_prefix: "blk.",
    layer: GGUF_LAYER,
    spec_tensors: &[ROPE_DIVISORS, ROPE_SHORT, ROPE_LONG],
    renames: &[],
    ignored_prefixes: &[],
    ignored_suffixes: &[".attn_rot_embd", ".rope_freqs.weight"],
    rope_rows: RopeRows::Halves,
    norm_weights: NormWeights::Factor,
};

/// Names within a layer, in GGUF files.
pub(super) const GGUF_LAYER: LayerNames = LayerNames {
    attention_norm: "attn_norm.weight",
    qkv: Fused::Apart(["attn_q.weight", "attn_k.weight", "attn_v.weight"]),
    qkv_bias: ["attn_q.bias", "attn_k.bias", "attn_v.bias"],
    head_norms: ["attn_q_norm.weight", "attn_k_norm.weight"],
    attention_output: "attn_output.weight",
    post_attention_norm: "post_attention_norm.weight",
    ffn_norm: "ffn_norm.weight",
    gate_up: Fused::Apart(["ffn_gate.weight", "ffn_up.weight"]),
    down: "ffn_down.weight",
    post_ffn_norm: "post_ffw_norm.weight",
    experts: ExpertNames {
        router: "ffn_gate_inp.weight",
        gate: ExpertTensors::Stacked("ffn_gate_exps.weight"),
        up: ExpertTensors::Stacked("ffn_up_exps.weight"),
        down: ExpertTensors::Stacked("ffn_down_exps.weight"),
    },
};

/// Divisors of the rotary frequencies, a tensor in some GGUF files.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";
/// Divisors for short contexts.
pub(super) const ROPE_SHORT: &str = "rope_factors_short.weight";
/// Divisors for long contexts.
pub(super) const ROPE_LONG: &str = "rope_factors_long.weight";

impl WeightNames {
    /// The name that is looked for, given the one in a file.
    pub(crate) fn renamed(&self, stored: &str) -> Option<String> {
        let rename =
            |rename: &Rename| stored.strip_prefix(rename.prefix).map(|rest| rename.to.to_owned() + rest);
        self.renames.iter().find_map(rename)
    }

    /// The full name of a layer's weight.
    pub(crate) fn in_layer(&self, layer_idx: usize, name: &str) -> String {
        format!("{}{layer_idx}.{name}", self.layer_prefix)
    }

    /// The names of all weights that `spec` is loaded from.
    pub(crate) fn needed(&self, spec: &DecoderSpec) -> BTreeSet<String> {
        let mut needed = BTreeSet::from([self.embedding.to_owned(), self.final_norm.to_owned()]);
        if !spec.tied_head {
            needed.insert(self.head.to_owned());
        }
        for (layer_idx, layer) in spec.layers.iter().enumerate() {
            let names = self.layer.needed(spec, layer.feed_forward);
            needed.extend(names.into_iter().map(|name| self.in_layer(layer_idx, &name)));
        }
        needed
    }

    /// Compares the names in `store` with those that `spec` needs.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`] lists every missing and every left-over tensor.
    pub(crate) fn check(&self, spec: &DecoderSpec, store: &WeightStore) -> Result<(), ModelError> {
        let needed = self.needed(spec);
        let known = |name: &str| {
            needed.contains(name)
                || name == self.head
                || store.is_empty_bias(name)
                || self.spec_tensors.contains(&name)
                || self.ignored_prefixes.iter().any(|prefix| name.starts_with(prefix))
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
    /// The names that a layer of `spec` needs.
    fn needed(&self, spec: &DecoderSpec, feed_forward: FeedForward) -> Vec<String> {
        let mut names = vec![self.attention_norm, self.attention_output, self.ffn_norm];
        names.extend(self.qkv.names());
        if spec.attention.qkv_bias {
            names.extend(self.qkv_bias);
        }
        if spec.attention.head_norms {
            names.extend(self.head_norms);
        }
        if spec.norms == Norms::Sandwich {
            names.extend([self.post_attention_norm, self.post_ffn_norm]);
        }
        let mut of_experts = Vec::new();
        match feed_forward {
            FeedForward::Dense { .. } => {
                names.extend(self.gate_up.names());
                names.push(self.down);
            }
            FeedForward::Experts { num_experts, .. } => {
                let ExpertNames { router, gate, up, down } = self.experts;
                names.push(router);
                of_experts
                    .extend([gate, up, down].into_iter().flat_map(|tensors| tensors.names(num_experts)));
            }
        }
        names.into_iter().map(str::to_owned).chain(of_experts).collect()
    }
}

impl ExpertTensors {
    /// What the names of all experts' tensors begin with.
    pub(crate) fn common_name(self) -> &'static str {
        match self {
            Self::Each(name, _) | Self::Stacked(name) => name,
        }
    }

    fn names(self, num_experts: usize) -> Vec<String> {
        match self {
            Self::Each(before, after) => {
                (0..num_experts).map(|idx| format!("{before}{idx}{after}")).collect()
            }
            Self::Stacked(name) => vec![name.to_owned()],
        }
    }
}

impl<const N: usize> Fused<N> {
    /// The name of the first of its tensors.
    pub(crate) fn first(&self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    fn names(&self) -> &[&'static str] {
        match self {
            Self::Apart(names) => names,
            Self::Together(name) => std::slice::from_ref(name),
        }
    }
}

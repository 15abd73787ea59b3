//! The same architecture as candle-transformers computes it, one sequence at a time: the oracle of the parity tests.
//!
//! It keeps its own cache, which starts anew when a row starts at position 0, so it can neither switch between
//! sequences nor use blocks that another has filled; [`crate::ExecutorLimits`] says so. It computes in f32 whenever weights
//! are quantised, on the CPU or, in a build with its CUDA code, on a GPU, with memory of its own: what counts here is that
//! the code is somebody else's.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;
use spillway_kernels::{DType as NumberType, WeightType};

use crate::arch::Fused;
use crate::batch::{ForwardBatch, InputToken};
use crate::decoder::WeightLoader;
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::load::{CandleDevice, DtypePolicy};
use crate::model::{Logits, Model};
use crate::spec::{Activation, Attention, DecoderSpec, FeedForward, LayerSpec, Norms, RopeScaling};
use crate::tensor_source::TensorData;

mod device;
mod fault;

/// candle's Llama with its own cache.
pub(crate) struct CandleModel {
    spec: DecoderSpec,
    config: llama::Config,
    model: llama::Llama,
    cache: llama::Cache,
    device: candle_core::Device,
    dtype: DType,
    num_cached: u32,
    logits: Vec<f32>,
}

impl CandleModel {
    /// Loads the weights that `loader` names into candle's model.
    pub(crate) fn load(
        spec: &DecoderSpec,
        loader: &WeightLoader<'_>,
        max_model_len: usize,
        device: CandleDevice,
    ) -> Result<Self, ModelError> {
        let device = device::open(device)?;
        let config = config(spec, &loader.source.origin(), max_model_len)?;
        let dtype = match number_type(loader.policy, loader.source.dominant_type()) {
            NumberType::BF16 => DType::BF16,
            NumberType::F16 => DType::F16,
            NumberType::F32 | NumberType::E4M3 => DType::F32,
        };
        let tensors = tensors(spec, loader, dtype, &device)?;
        let builder = VarBuilder::from_tensors(tensors, dtype, &device);
        let model = llama::Llama::load(builder, &config)?;
        let cache = llama::Cache::new(true, dtype, &config, &device)?;
        Ok(Self {
            spec: spec.clone(),
            config,
            model,
            cache,
            device,
            dtype,
            num_cached: 0,
            logits: Vec::new(),
        })
    }
}

/// The type of candle's weights and of its cache, given that of most weights.
pub(crate) fn number_type(policy: DtypePolicy, dominant: WeightType) -> NumberType {
    match (policy, dominant) {
        (DtypePolicy::Bf16, _) | (DtypePolicy::Auto, WeightType::BF16) => NumberType::BF16,
        (DtypePolicy::F16, _) | (DtypePolicy::Auto, WeightType::F16) => NumberType::F16,
        (DtypePolicy::Auto | DtypePolicy::F32, _) => NumberType::F32,
    }
}

/// Bytes of all weights in one type.
pub(crate) fn weight_bytes(spec: &DecoderSpec, number_type: NumberType) -> u64 {
    spec.num_parameters().unwrap_or(usize::MAX).saturating_mul(number_type.size_bytes()) as u64
}

/// Refuses what candle's Llama does not compute.
///
/// # Errors
///
/// [`ModelError::Unsupported`] names it.
pub(crate) fn check(spec: &DecoderSpec, path: &Path) -> Result<(), ModelError> {
    config(spec, path, spec.max_positions).map(drop)
}

impl Model for CandleModel {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn forward(
        &mut self,
        batch: &ForwardBatch,
        _kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        let row = match &batch.rows[..] {
            [] => return Ok(()),
            [row] => row,
            rows => {
                let value = rows.len() as u64;
                return Err(ModelError::OverLimit { name: "rows", value, limit: 1 });
            }
        };
        let start = row.kv_len - row.tokens.len() as u32;
        if start == 0 {
            self.cache = llama::Cache::new(true, self.dtype, &self.config, &self.device)
                .map_err(|error| fault::of_step(&self.device, error))?;
        } else if start != self.num_cached {
            return Err(ModelError::OverLimit {
                name: "cached positions",
                value: u64::from(start),
                limit: u64::from(self.num_cached),
            });
        }
        let mut tokens = Vec::with_capacity(batch.tokens.len());
        for token in &batch.tokens {
            if let InputToken::Known(id) = token {
                tokens.push(id.0);
            }
        }
        // candle answers with the logits of the last token of a call only, so each that is needed ends a call.
        let num_logits = row.num_logits() as usize;
        let num_at_once = tokens.len() + 1 - num_logits.max(1);
        self.num_cached = start;
        self.advance(&tokens[..num_at_once]).map_err(|error| fault::of_step(&self.device, error))?;
        if num_logits > 0 {
            sink(Logits::new(&self.logits, self.spec.vocab_size));
        }
        for token in tokens[num_at_once..].chunks(1) {
            self.advance(token).map_err(|error| fault::of_step(&self.device, error))?;
            sink(Logits::new(&self.logits, self.spec.vocab_size));
        }
        Ok(())
    }
}

impl CandleModel {
    /// Computes tokens after those that are cached, and keeps the logits of the last.
    fn advance(&mut self, tokens: &[u32]) -> candle_core::Result<()> {
        let input = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let logits = self.model.forward(&input, self.num_cached as usize, &mut self.cache)?;
        self.logits = logits.flatten_all()?.to_vec1()?;
        self.num_cached += tokens.len() as u32;
        Ok(())
    }
}

/// candle's configuration of the same model, or an error for what candle's Llama does not compute.
fn config(spec: &DecoderSpec, path: &Path, max_model_len: usize) -> Result<llama::Config, ModelError> {
    if let Some(feature) = beyond_llama(spec) {
        return Err(unsupported(path, &feature));
    }
    let rope = &spec.ropes[0];
    let rope_scaling = match rope.scaling {
        RopeScaling::None if rope.rotary_dim == spec.head_dim => None,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }
            if rope.rotary_dim == spec.head_dim =>
        {
            Some(llama::Llama3RopeConfig {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original_max_positions as usize,
                rope_type: llama::Llama3RopeType::Llama3,
            })
        }
        _ => return Err(unsupported(path, "its rotary embedding")),
    };
    Ok(llama::Config {
        hidden_size: spec.hidden_size,
        intermediate_size: spec.largest_ffn_size(),
        vocab_size: spec.vocab_size,
        num_hidden_layers: spec.layers.len(),
        num_attention_heads: spec.num_heads,
        num_key_value_heads: spec.num_kv_heads,
        use_flash_attn: false,
        rms_norm_eps: f64::from(spec.norm_eps),
        rope_theta: rope.theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling,
        max_position_embeddings: max_model_len,
        tie_word_embeddings: spec.tied_head,
    })
}

/// What a spec asks for, besides its rotary embedding, that candle's Llama would leave out without a word.
fn beyond_llama(spec: &DecoderSpec) -> Option<String> {
    if spec.architecture != "llama" {
        return Some(format!("architecture {}", spec.architecture));
    }
    if spec.head_dim * spec.num_heads != spec.hidden_size {
        return Some(format!("a head dimension of {}", spec.head_dim));
    }
    let layer = LayerSpec::plain(spec.largest_ffn_size());
    let feature = if spec.activation != Activation::Silu {
        "another activation than silu"
    } else if spec.layers.iter().any(|layer| layer.window.is_some()) {
        "a window"
    } else if spec.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts { .. })) {
        "a mixture of experts"
    } else if spec.layers.iter().any(|other| *other != layer) {
        "layers of several kinds"
    } else if spec.attention != Attention::plain(spec.head_dim) {
        "a scale, cap, bias or norm in its attention"
    } else if spec.norms != Norms::Pre {
        "norms after attention"
    } else if spec.embedding_scale.is_some() || spec.logit_soft_cap.is_some() {
        "scaled embeddings or capped logits"
    } else {
        return None;
    };
    Some(feature.to_owned())
}

/// The error for what candle's Llama does not compute.
fn unsupported(path: &Path, feature: &str) -> ModelError {
    ModelError::Unsupported {
        path: path.to_owned(),
        feature: format!("{feature} with the candle executor"),
        supported: "choose the native executor".to_owned(),
    }
}

/// All weights as candle tensors under candle's names.
fn tensors(
    spec: &DecoderSpec,
    loader: &WeightLoader<'_>,
    dtype: DType,
    device: &candle_core::Device,
) -> Result<HashMap<String, Tensor>, ModelError> {
    let names = loader.names;
    let mut tensors = HashMap::new();
    let mut add = |to: String, data: &TensorData<'_>| {
        // Rounded before it is copied: a GPU need not hold the f32 form, too.
        let tensor = Tensor::from_vec(data.to_f32(), &data.shape[..], &candle_core::Device::Cpu)?;
        let tensor = tensor.to_dtype(dtype)?.to_device(device)?;
        tensors.insert(to, tensor);
        Ok::<_, ModelError>(())
    };
    let tensor = |name, shape: &[usize]| loader.source.tensor(name, shape);
    let table = [spec.vocab_size, spec.hidden_size];
    add("model.embed_tokens.weight".to_owned(), &tensor(names.embedding, &table)?)?;
    add("model.norm.weight".to_owned(), &tensor(names.final_norm, &[spec.hidden_size])?)?;
    if !spec.tied_head {
        add("lm_head.weight".to_owned(), &tensor(names.head, &table)?)?;
    }
    let hidden = spec.hidden_size;
    let layer = names.layer;
    for (layer_idx, layer_spec) in spec.layers.iter().enumerate() {
        let ffn = layer_spec.feed_forward.size();
        let Fused::Apart([gate, up]) = layer.gate_up else {
            return Err(unsupported(&loader.source.origin(), "fused products"));
        };
        let shapes: [(&str, &str, &[usize]); 6] = [
            ("input_layernorm", layer.attention_norm, &[hidden]),
            ("self_attn.o_proj", layer.attention_output, &[hidden, spec.q_size()]),
            ("post_attention_layernorm", layer.ffn_norm, &[hidden]),
            ("mlp.gate_proj", gate, &[ffn, hidden]),
            ("mlp.up_proj", up, &[ffn, hidden]),
            ("mlp.down_proj", layer.down, &[hidden, ffn]),
        ];
        for (to, from, shape) in shapes {
            let data = loader.source.tensor(&names.in_layer(layer_idx, from), shape)?;
            add(format!("model.layers.{layer_idx}.{to}.weight"), &data)?;
        }
        for (to, data) in ["q_proj", "k_proj", "v_proj"].iter().zip(loader.qkv(spec, layer_idx)?) {
            add(format!("model.layers.{layer_idx}.self_attn.{to}.weight"), &data)?;
        }
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::spec::ExpertWeighting;
    use crate::spec::tests::small_spec;

    #[test]
    fn what_candles_llama_would_leave_out_is_named() {
        let beyond = |spoil: fn(&mut DecoderSpec)| {
            let mut spec = small_spec();
            spoil(&mut spec);
            beyond_llama(&spec).unwrap_or_default()
        };
        assert_eq!(beyond(|_| {}), "");
        assert_eq!(beyond(|spec| spec.activation = Activation::GeluTanh), "another activation than silu");
        assert_eq!(beyond(|spec| spec.layers[1].window = NonZeroUsize::new(8)), "a window");
        let with_experts = beyond(|spec| {
            spec.layers[1].feed_forward = FeedForward::Experts {
                num_experts: 4,
                num_active: 2,
                size: 96,
                weighting: ExpertWeighting::OfChosen,
            };
        });
        assert_eq!(with_experts, "a mixture of experts");
        assert_eq!(beyond(|spec| spec.layers[1] = LayerSpec::plain(32)), "layers of several kinds");
        let in_attention = "a scale, cap, bias or norm in its attention";
        assert_eq!(beyond(|spec| spec.attention.scale = 1.0), in_attention);
        assert_eq!(beyond(|spec| spec.attention.qkv_bias = true), in_attention);
        assert_eq!(beyond(|spec| spec.norms = Norms::Sandwich), "norms after attention");
        let scaled = "scaled embeddings or capped logits";
        assert_eq!(beyond(|spec| spec.embedding_scale = Some(2.0)), scaled);
        assert_eq!(beyond(|spec| spec.logit_soft_cap = Some(30.0)), scaled);
    }
}

//! A decoder's weights on its device: q, k, v and gate, up fused, everything packed for its products.

use half::{bf16, f16};
use spillway_kernels::ops::{Expert, ExpertWeighting};
use spillway_kernels::{
    ComputeType, DType, Device, PackedWeight, Quantisation, Tensor, WeightSource, WeightType,
};

use super::MatrixRole;
use crate::arch::{ExpertTensors, Fused, NormWeights, RopeRows, WeightNames};
use crate::error::ModelError;
use crate::load::DtypePolicy;
use crate::spec::{DecoderSpec, FeedForward, LayerSpec, Norms};
use crate::tensor_source::{TensorData, TensorSource};

/// All weights.
#[derive(Debug)]
pub(crate) struct DecoderWeights {
    /// `[vocab, hidden]`
    pub(super) embedding: PackedWeight,
    /// What embeddings are multiplied with.
    pub(super) embedding_scale: Option<f32>,
    pub(super) layers: Vec<LayerWeights>,
    /// `[1, hidden]`
    pub(super) final_norm: Tensor,
    /// `[vocab, hidden]`; absent if it is the embedding.
    pub(super) head: Option<PackedWeight>,
}

/// The weights of one layer.
#[derive(Debug)]
pub(super) struct LayerWeights {
    /// `[1, hidden]`
    pub(super) attention_norm: Tensor,
    /// `[(num_heads + 2 * num_kv_heads) * head_dim, hidden]`
    pub(super) qkv: PackedWeight,
    /// `[1, (num_heads + 2 * num_kv_heads) * head_dim]`
    pub(super) qkv_bias: Option<Tensor>,
    /// Of q and of k: `[1, head_dim]` each.
    pub(super) head_norms: Option<[Tensor; 2]>,
    /// `[hidden, num_heads * head_dim]`
    pub(super) attention_output: PackedWeight,
    /// `[1, hidden]`
    pub(super) post_attention_norm: Option<Tensor>,
    /// `[1, hidden]`
    pub(super) ffn_norm: Tensor,
    pub(super) feed_forward: FeedForwardWeights,
    /// `[1, hidden]`
    pub(super) post_ffn_norm: Option<Tensor>,
}

/// The weights of the second half of a layer.
#[derive(Debug)]
pub(super) enum FeedForwardWeights {
    /// One network.
    Dense {
        /// `[2 * ffn, hidden]`
        gate_up: PackedWeight,
        /// `[hidden, ffn]`
        down: PackedWeight,
    },
    /// Several, and what chooses among them.
    Experts {
        /// `[num_experts, hidden]`
        router: PackedWeight,
        experts: Vec<Expert>,
        num_active: usize,
        weighting: ExpertWeighting,
    },
}

/// Reads tensors by name and puts them on a device.
pub(crate) struct WeightLoader<'a> {
    pub(crate) device: &'a Device,
    pub(crate) source: TensorSource<'a>,
    pub(crate) names: &'a WeightNames,
    pub(crate) policy: DtypePolicy,
    /// What float matrices are rounded to.
    pub(crate) quantisation: Option<Quantisation>,
}

impl DecoderWeights {
    /// Loads everything that `spec` calls for.
    pub(crate) fn load(loader: &WeightLoader<'_>, spec: &DecoderSpec) -> Result<Self, ModelError> {
        let names = loader.names;
        let table = [spec.vocab_size, spec.hidden_size];
        let embedding = loader.source.tensor(names.embedding, &table)?;
        let rounded = |scale| loader.policy.rounded(scale, embedding.weight_type);
        let layers = spec.layers.iter().enumerate();
        let layers = layers
            .map(|(layer_idx, layer)| LayerWeights::load(loader, spec, (layer_idx, layer)))
            .collect::<Result<Vec<_>, _>>()?;
        let head =
            if spec.tied_head { None } else { Some(loader.matrix(names.head, table, MatrixRole::Head)?) };
        let embedding_role = MatrixRole::of_name(names, spec, names.embedding);
        Ok(Self {
            embedding_scale: spec.embedding_scale.map(rounded),
            embedding: loader.pack(names.embedding, &[embedding], embedding_role)?,
            layers,
            final_norm: loader.norm(names.final_norm, spec.hidden_size)?,
            head,
        })
    }

    /// Bytes on the device, norms left out.
    pub(crate) fn size_bytes(&self) -> usize {
        let of_layer = |layer: &LayerWeights| {
            layer.qkv.size_bytes() + layer.attention_output.size_bytes() + layer.feed_forward.size_bytes()
        };
        let layers: usize = self.layers.iter().map(of_layer).sum();
        layers + self.embedding.size_bytes() + self.head.as_ref().map_or(0, PackedWeight::size_bytes)
    }

    /// Of these, bytes that each step reads: of a table that is no head, it reads a few rows.
    pub(crate) fn streamed_bytes(&self) -> usize {
        self.size_bytes() - if self.head.is_some() { self.embedding.size_bytes() } else { 0 }
    }
}

impl LayerWeights {
    fn load(
        loader: &WeightLoader<'_>,
        spec: &DecoderSpec,
        (layer_idx, layer): (usize, &LayerSpec),
    ) -> Result<Self, ModelError> {
        let names = &loader.names.layer;
        let full = |name: &str| loader.names.in_layer(layer_idx, name);
        let hidden = spec.hidden_size;
        let head_norms = if spec.attention.head_norms {
            let [q, k] = names.head_norms.map(|name| loader.norm(&full(name), spec.head_dim));
            Some([q?, k?])
        } else {
            None
        };
        let sandwich_norm = |name| match spec.norms {
            Norms::Pre => Ok(None),
            Norms::Sandwich => loader.norm(&full(name), hidden).map(Some),
        };
        Ok(Self {
            attention_norm: loader.norm(&full(names.attention_norm), hidden)?,
            qkv: loader.pack(&full(names.qkv.first()), &loader.qkv(spec, layer_idx)?, MatrixRole::Layer)?,
            qkv_bias: loader.qkv_bias(spec, layer_idx)?,
            head_norms,
            attention_output: loader.matrix(
                &full(names.attention_output),
                [hidden, spec.q_size()],
                MatrixRole::Layer,
            )?,
            post_attention_norm: sandwich_norm(names.post_attention_norm)?,
            ffn_norm: loader.norm(&full(names.ffn_norm), hidden)?,
            feed_forward: FeedForwardWeights::load(loader, hidden, (layer_idx, layer))?,
            post_ffn_norm: sandwich_norm(names.post_ffn_norm)?,
        })
    }
}

impl FeedForwardWeights {
    fn load(
        loader: &WeightLoader<'_>,
        hidden: usize,
        (layer_idx, layer): (usize, &LayerSpec),
    ) -> Result<Self, ModelError> {
        let names = &loader.names.layer;
        let full = |name: &str| loader.names.in_layer(layer_idx, name);
        match layer.feed_forward {
            FeedForward::Dense { size } => {
                let gate_up = loader.fused(layer_idx, names.gate_up, [size, size], hidden)?;
                Ok(Self::Dense {
                    gate_up: loader.pack(&full(names.gate_up.first()), &gate_up, MatrixRole::Layer)?,
                    down: loader.matrix(&full(names.down), [hidden, size], MatrixRole::Layer)?,
                })
            }
            FeedForward::Experts { num_experts, num_active, size, weighting } => {
                let stack = |tensors, shape| loader.expert_tensors(layer_idx, tensors, num_experts, shape);
                let (gates, ups) =
                    (stack(names.experts.gate, [size, hidden])?, stack(names.experts.up, [size, hidden])?);
                let downs = stack(names.experts.down, [hidden, size])?;
                let matrices = gates.into_iter().zip(ups).zip(downs);
                let experts = matrices.map(|((gate, up), down)| {
                    let pack = |tensors: ExpertTensors, parts: &[TensorData<'_>]| {
                        loader.pack(&full(tensors.common_name()), parts, MatrixRole::Layer)
                    };
                    Ok(Expert {
                        gate_up: pack(names.experts.gate, &[gate, up])?,
                        down: pack(names.experts.down, &[down])?,
                    })
                });
                Ok(Self::Experts {
                    router: loader.matrix(
                        &full(names.experts.router),
                        [num_experts, hidden],
                        MatrixRole::Router,
                    )?,
                    experts: experts.collect::<Result<_, ModelError>>()?,
                    num_active,
                    weighting,
                })
            }
        }
    }

    /// Bytes on the device.
    fn size_bytes(&self) -> usize {
        match self {
            Self::Dense { gate_up, down } => gate_up.size_bytes() + down.size_bytes(),
            Self::Experts { router, experts, .. } => {
                let of_expert = |expert: &Expert| expert.gate_up.size_bytes() + expert.down.size_bytes();
                router.size_bytes() + experts.iter().map(of_expert).sum::<usize>()
            }
        }
    }
}

impl<'a> WeightLoader<'a> {
    /// q, k and v as the file has them, with the rows of each head in halves.
    pub(crate) fn qkv(
        &self,
        spec: &DecoderSpec,
        layer_idx: usize,
    ) -> Result<Vec<TensorData<'a>>, ModelError> {
        let rows = [spec.q_size(), spec.kv_size(), spec.kv_size()];
        let mut parts = self.fused(layer_idx, self.names.layer.qkv, rows, spec.hidden_size)?;
        if self.names.rope_rows == RopeRows::Interleaved {
            let num_turned = parts.len().saturating_sub(1);
            for part in &mut parts[..num_turned] {
                *part = part.with_rows_in_halves(spec.head_dim);
            }
        }
        Ok(parts)
    }

    /// What is added to q, k and v: `[1, q_size + 2 * kv_size]`.
    fn qkv_bias(&self, spec: &DecoderSpec, layer_idx: usize) -> Result<Option<Tensor>, ModelError> {
        if !spec.attention.qkv_bias {
            return Ok(None);
        }
        let sizes = [spec.q_size(), spec.kv_size(), spec.kv_size()];
        let mut values = Vec::with_capacity(sizes.iter().sum());
        for (name, size) in self.names.layer.qkv_bias.into_iter().zip(sizes) {
            values.extend(self.source.tensor(&self.names.in_layer(layer_idx, name), &[size])?.to_f32());
        }
        Ok(Some(Tensor::from_f32(self.device, DType::F32, [1, values.len()], &values)?))
    }

    /// The parts of a fused matrix, each of so many rows, or the one tensor that has them all.
    fn fused<const N: usize>(
        &self,
        layer_idx: usize,
        names: Fused<N>,
        rows: [usize; N],
        columns: usize,
    ) -> Result<Vec<TensorData<'a>>, ModelError> {
        let tensor = |name: &str, num_rows| {
            self.source.tensor(&self.names.in_layer(layer_idx, name), &[num_rows, columns])
        };
        match names {
            Fused::Apart(names) => names.iter().zip(rows).map(|(name, rows)| tensor(name, rows)).collect(),
            Fused::Together(name) => Ok(vec![tensor(name, rows.iter().sum())?]),
        }
    }

    /// One matrix of every expert, each of `shape`.
    fn expert_tensors(
        &self,
        layer_idx: usize,
        tensors: ExpertTensors,
        num_experts: usize,
        shape: [usize; 2],
    ) -> Result<Vec<TensorData<'a>>, ModelError> {
        match tensors {
            ExpertTensors::Each(before, after) => (0..num_experts)
                .map(|expert_idx| {
                    let name = format!("{before}{expert_idx}{after}");
                    self.source.tensor(&self.names.in_layer(layer_idx, &name), &shape)
                })
                .collect(),
            ExpertTensors::Stacked(name) => {
                let name = self.names.in_layer(layer_idx, name);
                let stack = self.source.tensor(&name, &[num_experts, shape[0], shape[1]])?;
                Ok(stack.slices())
            }
        }
    }

    fn matrix(&self, name: &str, shape: [usize; 2], role: MatrixRole) -> Result<PackedWeight, ModelError> {
        self.pack(name, &[self.source.tensor(name, &shape)?], role)
    }

    /// A norm's weights: always f32, there being so few. Random ones are factors in every family.
    fn norm(&self, name: &str, size: usize) -> Result<Tensor, ModelError> {
        let mut values = self.source.tensor(name, &[size])?.to_f32();
        let is_stored = matches!(self.source, TensorSource::Stored(_));
        if is_stored && self.names.norm_weights == NormWeights::FactorLessOne {
            for value in &mut values {
                *value += 1.0;
            }
        }
        Ok(Tensor::from_f32(self.device, DType::F32, [1, size], &values)?)
    }

    /// Packs matrices of equal columns one below the other; the first one's name is for messages.
    fn pack(
        &self,
        name: &str,
        parts: &[TensorData<'_>],
        role: MatrixRole,
    ) -> Result<PackedWeight, ModelError> {
        let compute_type = match role.quantisation(self.quantisation) {
            Some(quantisation) => {
                self.check_columns(name, parts, quantisation)?;
                ComputeType::Quantised(quantisation)
            }
            None => self.policy.compute_type(),
        };
        let sources = parts
            .iter()
            .map(|part| {
                let columns = part.shape.last().copied().unwrap_or(0);
                WeightSource::new(part.weight_type, [part.num_rows(), columns], &part.bytes)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(PackedWeight::pack(self.device, &sources, compute_type)?)
    }

    /// Refuses floats whose columns cannot be quantised.
    fn check_columns(
        &self,
        name: &str,
        parts: &[TensorData<'_>],
        quantisation: Quantisation,
    ) -> Result<(), ModelError> {
        for part in parts.iter().filter(|part| part.weight_type.block_len() == 1) {
            let columns = part.shape.last().copied().unwrap_or(0);
            if !columns.is_multiple_of(Quantisation::COLUMNS) {
                return Err(ModelError::Unsupported {
                    path: self.source.origin(),
                    feature: format!("tensor `{name}` with {columns} columns in {quantisation}"),
                    supported: format!(
                        "columns must be a multiple of {}: serve this model with --quantization none",
                        Quantisation::COLUMNS
                    ),
                });
            }
        }
        Ok(())
    }
}

impl DtypePolicy {
    /// What matrices are computed with.
    fn compute_type(self) -> ComputeType {
        match self {
            Self::Auto => ComputeType::Stored,
            Self::F32 => ComputeType::F32,
            Self::Bf16 => ComputeType::BF16,
            Self::F16 => ComputeType::F16,
        }
    }

    /// A factor as the reference has it: in the type of the table, stored as `weight_type`, that it multiplies.
    /// Quantised tables stand for f32.
    pub(super) fn rounded(self, factor: f32, weight_type: WeightType) -> f32 {
        match (self, weight_type) {
            (Self::Bf16, _) | (Self::Auto, WeightType::BF16) => bf16::from_f32(factor).to_f32(),
            (Self::F16, _) | (Self::Auto, WeightType::F16) => f16::from_f32(factor).to_f32(),
            (Self::F32 | Self::Auto, _) => factor,
        }
    }
}

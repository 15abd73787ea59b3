//! A decoder's weights on its device: q, k, v and gate, up fused, everything packed for its products.

use spillway_kernels::{ComputeType, DType, Device, PackedWeight, Tensor, WeightSource};

use crate::arch::{RopeRows, WeightNames};
use crate::error::ModelError;
use crate::load::DtypePolicy;
use crate::spec::DecoderSpec;
use crate::tensor_source::{TensorData, TensorSource};

/// All weights.
#[derive(Debug)]
pub(crate) struct DecoderWeights {
    /// `[vocab, hidden]`
    pub(super) embedding: PackedWeight,
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
    /// `[hidden, num_heads * head_dim]`
    pub(super) attention_output: PackedWeight,
    /// `[1, hidden]`
    pub(super) ffn_norm: Tensor,
    /// `[2 * ffn, hidden]`
    pub(super) gate_up: PackedWeight,
    /// `[hidden, ffn]`
    pub(super) down: PackedWeight,
}

/// Reads tensors by name and puts them on a device.
pub(crate) struct WeightLoader<'a> {
    pub(crate) device: &'a Device,
    pub(crate) source: TensorSource<'a>,
    pub(crate) names: &'a WeightNames,
    pub(crate) policy: DtypePolicy,
}

impl DecoderWeights {
    /// Loads everything that `spec` calls for.
    pub(crate) fn load(loader: &WeightLoader<'_>, spec: &DecoderSpec) -> Result<Self, ModelError> {
        let names = loader.names;
        let table = [spec.vocab_size, spec.hidden_size];
        let layers = (0..spec.num_layers)
            .map(|layer_idx| LayerWeights::load(loader, spec, layer_idx))
            .collect::<Result<Vec<_>, _>>()?;
        let head = if spec.tied_head { None } else { Some(loader.matrix(names.head, table)?) };
        Ok(Self {
            embedding: loader.matrix(names.embedding, table)?,
            layers,
            final_norm: loader.norm(names.final_norm, spec.hidden_size)?,
            head,
        })
    }

    /// Bytes on the device, norms left out.
    pub(crate) fn size_bytes(&self) -> usize {
        let of_layer = |layer: &LayerWeights| {
            [&layer.qkv, &layer.attention_output, &layer.gate_up, &layer.down].map(PackedWeight::size_bytes)
        };
        let layers: usize = self.layers.iter().flat_map(of_layer).sum();
        layers + self.embedding.size_bytes() + self.head.as_ref().map_or(0, PackedWeight::size_bytes)
    }
}

impl LayerWeights {
    fn load(loader: &WeightLoader<'_>, spec: &DecoderSpec, layer_idx: usize) -> Result<Self, ModelError> {
        let names = &loader.names.layer;
        let full = |name| loader.names.in_layer(layer_idx, name);
        let hidden = spec.hidden_size;
        let q = loader.rope_matrix(&full(names.q), [spec.q_size(), hidden], spec.head_dim)?;
        let k = loader.rope_matrix(&full(names.k), [spec.kv_size(), hidden], spec.head_dim)?;
        let v = loader.source.tensor(&full(names.v), &[spec.kv_size(), hidden])?;
        let gate = loader.source.tensor(&full(names.gate), &[spec.ffn_size, hidden])?;
        let up = loader.source.tensor(&full(names.up), &[spec.ffn_size, hidden])?;
        Ok(Self {
            attention_norm: loader.norm(&full(names.attention_norm), hidden)?,
            qkv: loader.pack(&[q, k, v])?,
            attention_output: loader.matrix(&full(names.attention_output), [hidden, spec.q_size()])?,
            ffn_norm: loader.norm(&full(names.ffn_norm), hidden)?,
            gate_up: loader.pack(&[gate, up])?,
            down: loader.matrix(&full(names.down), [hidden, spec.ffn_size])?,
        })
    }
}

impl WeightLoader<'_> {
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<PackedWeight, ModelError> {
        self.pack(&[self.source.tensor(name, &shape)?])
    }

    /// A norm's weights: always f32, there being so few.
    fn norm(&self, name: &str, size: usize) -> Result<Tensor, ModelError> {
        let values = self.source.tensor(name, &[size])?.to_f32();
        Ok(Tensor::from_f32(self.device, DType::F32, [1, size], &values)?)
    }

    /// A matrix whose rows belong to heads that are turned, with the rows of each head in halves.
    fn rope_matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        head_dim: usize,
    ) -> Result<TensorData<'_>, ModelError> {
        Ok(self.in_halves(self.source.tensor(name, &shape)?, head_dim))
    }

    /// A matrix as the format has it, with the rows of each head in halves.
    pub(crate) fn in_halves<'b>(&self, tensor: TensorData<'b>, head_dim: usize) -> TensorData<'b> {
        match self.names.rope_rows {
            RopeRows::Halves => tensor,
            RopeRows::Interleaved => tensor.with_rows_in_halves(head_dim),
        }
    }

    /// Packs matrices of equal columns one below the other.
    fn pack(&self, parts: &[TensorData<'_>]) -> Result<PackedWeight, ModelError> {
        let sources = parts
            .iter()
            .map(|part| {
                let columns = part.shape.last().copied().unwrap_or(0);
                WeightSource::new(part.weight_type, [part.num_rows(), columns], &part.bytes)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(PackedWeight::pack(self.device, &sources, self.policy.compute_type())?)
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
}

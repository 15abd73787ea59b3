//! Each op of [`crate::ops`] but attention as a launch.

use std::ops::Range;

use half::bf16;

use super::batch::CudaBatch;
use super::feed::CudaFeed;
use crate::cuda::ops::cache_element::CacheElement;
use crate::cuda::ops::linear::ProductOutput;
use crate::cuda::ops::rows::{self, Delta, Gate, HeadShape, Rope, RopePairs};
use crate::cuda::ops::stacked::{SourcesKept, StackedWeight};
use crate::cuda::{CudaDevice, CudaError, DeviceSliceMut};
use crate::e4m3::E4m3;
use crate::error::KernelError;
use crate::kv::{KvLayout, PagedKv};
use crate::ops::{
    Activation, GatedLinearArguments, LinearArguments, NormArguments, RopeArguments, RopeStyle,
};
use crate::tensor::{DType, TensorView, TensorViewMut};
use crate::weight::{ComputeType, PackedWeight, WeightSource};

/// Copies checked sources up, one below the other: quantised ones as they are, where products take their type, and
/// the others as bf16 or quantised.
pub(crate) fn pack(
    device: &CudaDevice,
    sources: &[WeightSource<'_>],
    compute_type: ComputeType,
) -> Result<StackedWeight, CudaError> {
    let refused = |found: &str| CudaError::Unsupported {
        op: "a weight on the GPU",
        what: "type to compute with",
        found: found.to_owned(),
        supported: "auto or bf16",
    };
    let kept = match compute_type {
        ComputeType::Stored => SourcesKept::AsStored,
        ComputeType::BF16 => SourcesKept::Widened,
        ComputeType::Quantised(quantisation) => SourcesKept::Quantised(quantisation),
        ComputeType::F32 => return Err(refused("f32")),
        ComputeType::F16 => return Err(refused("f16")),
    };
    StackedWeight::pack(device, sources, kept)
}

/// See [`crate::ops::embed`]. Begins a step.
pub(crate) fn embed(
    device: &CudaDevice,
    (batch, feed): (&CudaBatch, &mut CudaFeed),
    table: &PackedWeight,
    scale: Option<f32>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let tokens = feed.begin_step(device, batch.tokens()?)?;
    let mut out = out.as_device_mut::<f32>("out")?;
    Ok(table.as_cuda()?.embed(device, tokens, scale, &mut out)?)
}

/// See [`crate::ops::add_rms_norm`].
pub(crate) fn add_rms_norm(
    device: &CudaDevice,
    arguments: NormArguments<'_>,
    mut residual: TensorViewMut<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let delta = match arguments.delta {
        Some(delta) => Some(Delta {
            x: delta.x.as_device("delta")?,
            norm: delta.norm.map(|norm| norm.as_device("norm of the delta")).transpose()?,
        }),
        None => None,
    };
    let weight = arguments.weight.as_device::<f32>("weight")?;
    let mut residual = residual.as_device_mut::<f32>("residual")?;
    let mut out = out.as_device_mut::<bf16>("out")?;
    Ok(rows::add_rms_norm(device, &mut residual, delta, weight, arguments.epsilon, &mut out)?)
}

/// See [`crate::ops::linear`]. The output may be bf16 (activations) or f32 (logits).
pub(crate) fn linear(
    device: &CudaDevice,
    arguments: LinearArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [m, _] = arguments.x.shape();
    let x = arguments.x.as_device("x")?;
    let bias = arguments.bias.map(|bias| bias.as_device("bias")).transpose()?;
    let out = match out.dtype() {
        DType::F32 => ProductOutput::F32(out.as_device_mut("out")?),
        DType::BF16 | DType::F16 | DType::E4M3 => ProductOutput::Bf16(out.as_device_mut("out")?),
    };
    Ok(arguments.weight.as_cuda()?.product(device, x, bias, m, out)?)
}

/// Whether a product of so many rows gates by itself.
pub(crate) fn can_gate(device: &CudaDevice, weight: &PackedWeight, m: usize) -> Result<bool, KernelError> {
    Ok(weight.as_cuda()?.can_gate(device, m))
}

/// See [`crate::ops::gated_linear`], where [`can_gate`].
pub(crate) fn gated_linear(
    device: &CudaDevice,
    arguments: GatedLinearArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [m, _] = arguments.x.shape();
    let out = out.as_device_mut("out")?;
    let out = match arguments.activation {
        Activation::Silu => ProductOutput::SiluGated(out),
        Activation::GeluTanh => ProductOutput::GeluGated(out),
    };
    Ok(arguments.weight.as_cuda()?.product(device, arguments.x.as_device("x")?, None, m, out)?)
}

/// See [`crate::ops::gated_act`].
pub(crate) fn gated_act(
    device: &CudaDevice,
    activation: Activation,
    gate_up: TensorView<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [_, ffn] = out.shape();
    let gate = match activation {
        Activation::Silu => Gate::Silu,
        Activation::GeluTanh => Gate::GeluTanh,
    };
    let mut out = out.as_device_mut("out")?;
    Ok(rows::gated_act(device, gate_up.as_device("gate_up")?, gate, &mut out, ffn)?)
}

/// See [`crate::ops::gather_rows`].
pub(crate) fn gather_rows(
    device: &CudaDevice,
    batch: &CudaBatch,
    range: Range<usize>,
    x: TensorView<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [_, hidden] = x.shape();
    let indices = batch.logit_tokens()?.slice(range);
    match x.dtype() {
        DType::F32 => {
            let mut out = out.as_device_mut::<f32>("out")?;
            rows::gather_rows(device, x.as_device("x")?, indices, &mut out, hidden)?;
        }
        DType::BF16 | DType::F16 | DType::E4M3 => {
            let mut out = out.as_device_mut::<bf16>("out")?;
            rows::gather_rows(device, x.as_device("x")?, indices, &mut out, hidden)?;
        }
    }
    Ok(())
}

/// See [`crate::ops::soft_cap`].
pub(crate) fn soft_cap(device: &CudaDevice, cap: f32, mut x: TensorViewMut<'_>) -> Result<(), KernelError> {
    Ok(rows::soft_cap(device, cap, &mut x.as_device_mut("x")?)?)
}

pub(super) fn head_shape(heads: usize, layout: &KvLayout) -> HeadShape {
    HeadShape {
        heads,
        kv_heads: layout.num_kv_heads,
        head_dim: layout.head_dim,
        block_size: layout.block_size,
    }
}

/// See [`crate::ops::rope_and_cache`].
pub(crate) fn rope_and_cache(
    device: &CudaDevice,
    batch: &CudaBatch,
    arguments: RopeArguments<'_>,
    mut qkv: TensorViewMut<'_>,
    kv: &mut PagedKv,
) -> Result<(), KernelError> {
    let shape = head_shape(arguments.num_heads, &kv.layout());
    let [_, num_pairs] = arguments.cos.shape();
    let norms = arguments.norms;
    let rope = Rope {
        positions: batch.positions()?,
        slots: batch.slots()?,
        cos: arguments.cos.as_device("cos")?,
        sin: arguments.sin.as_device("sin")?,
        rotary_dim: 2 * num_pairs,
        pairs: match arguments.style {
            RopeStyle::Halves => RopePairs::Halves,
            RopeStyle::Neighbours => RopePairs::Interleaved,
        },
        q_norm: norms.map(|norms| norms.q.as_device("norm of q")).transpose()?,
        k_norm: norms.map(|norms| norms.k.as_device("norm of k")).transpose()?,
        epsilon: norms.map_or(0.0, |norms| norms.epsilon),
    };
    let mut qkv = qkv.as_device_mut("qkv")?;
    match kv.layout().dtype {
        DType::E4M3 => write_cache::<E4m3>(device, &mut qkv, &rope, kv, shape),
        // A cache on a GPU is of one of the two; for others, this says which it must be.
        DType::BF16 | DType::F16 | DType::F32 => write_cache::<bf16>(device, &mut qkv, &rope, kv, shape),
    }
}

/// The same into a cache of `T`.
fn write_cache<T: CacheElement>(
    device: &CudaDevice,
    qkv: &mut DeviceSliceMut<'_, bf16>,
    rope: &Rope<'_>,
    kv: &mut PagedKv,
    shape: HeadShape,
) -> Result<(), KernelError> {
    let (keys, values) = kv.parts_mut();
    let (mut keys, mut values) = (keys.view_mut(), values.view_mut());
    let mut keys = keys.as_device_mut::<T>("the KV cache")?;
    let mut values = values.as_device_mut::<T>("the KV cache")?;
    Ok(rows::rope_and_cache(device, qkv, rope, &mut keys, &mut values, shape)?)
}

//! Causal attention over the paged cache, for decodes and chunks of prompts in one call.

use std::num::NonZeroUsize;

use half::{bf16, f16};

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::{Device, Workspace};
use crate::error::{KernelError, expect_shape};
use crate::kv::PagedKv;
use crate::tensor::{DType, TensorView, TensorViewMut};

use super::rope_and_cache::expect_batch_fits;

/// What [`attention`] reads.
#[derive(Debug, Clone, Copy)]
pub struct AttentionArguments<'a> {
    /// Queries, in the first columns: `[tokens, (num_heads + 2 * kv_heads) * head_dim]`.
    pub qkv: TensorView<'a>,
    /// Keys and values of all positions up to the tokens' own.
    pub kv: &'a PagedKv,
    /// Heads of q: a multiple of the cache's.
    pub num_heads: usize,
    /// Scores are multiplied with it; commonly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// How many keys a token sees, its own included; absent for all before it.
    pub window: Option<NonZeroUsize>,
    /// Scaled scores become `cap * tanh(score / cap)`, if there is a cap.
    pub soft_cap: Option<f32>,
}

/// `out = softmax(scale * q * k^T) * v`, where a token at position `p` sees positions `0..=p` of its
/// own sequence, or of these the last `window`.
///
/// # Shapes
///
/// - `out`: `[tokens, num_heads * head_dim]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree,
/// [`KernelError::Invalid`] if heads do not divide or the batch was made for another block size,
/// [`KernelError::OverLimit`] if a block is not in the cache or the workspace is too small.
pub fn attention(
    device: &Device,
    workspace: &mut Workspace,
    batch: &StepBatch,
    arguments: AttentionArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let AttentionArguments { qkv, kv, num_heads, scale, window, soft_cap } = arguments;
    let layout = kv.layout();
    expect_batch_fits(batch, &layout)?;
    if num_heads == 0 || !num_heads.is_multiple_of(layout.num_kv_heads) {
        return Err(KernelError::Invalid {
            name: "num_heads",
            value: num_heads,
            rule: "be a multiple of the cache's heads",
        });
    }
    let tokens = batch.num_tokens();
    let columns = (num_heads + 2 * layout.num_kv_heads) * layout.head_dim;
    expect_shape("qkv", qkv.shape(), [tokens, columns])?;
    expect_shape("out", out.shape(), [tokens, num_heads * layout.head_dim])?;
    match (device, workspace) {
        (Device::Cpu(cpu), Workspace::Cpu(workspace)) => {
            workspace.expect_fits_heads(layout.head_dim, cpu)?;
            let qkv = qkv.as_f32("qkv")?;
            let inputs = cpu::Attention { batch, qkv, num_heads, scale, window, soft_cap, kv: layout };
            let out = out.as_f32_mut("out")?;
            let (keys, values) = (kv.keys(), kv.values());
            match layout.dtype {
                DType::F32 => {
                    let (keys, values) = (keys.host::<f32>()?, values.host()?);
                    cpu::attention(cpu, workspace, inputs, (keys, values), out);
                }
                DType::F16 => {
                    let (keys, values) = (keys.host::<f16>()?, values.host()?);
                    cpu::attention(cpu, workspace, inputs, (keys, values), out);
                }
                DType::BF16 => {
                    let (keys, values) = (keys.host::<bf16>()?, values.host()?);
                    cpu::attention(cpu, workspace, inputs, (keys, values), out);
                }
                DType::E4M3 => return Err(layout.not_on_cpu()),
            }
        }
        #[cfg(feature = "cuda")]
        (Device::Cuda(cuda), Workspace::Cuda(workspace)) => {
            crate::cuda::dispatch::attention(cuda, workspace, batch.on_gpu()?, arguments, out)?;
        }
        #[cfg(feature = "cuda")]
        _ => return Err(KernelError::OtherDevice { name: "workspace" }),
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Normalises queries and keys head by head, turns them by their position, and writes keys and values into the paged cache.

use half::{bf16, f16};

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_at_most, expect_shape};
use crate::kv::{KvLayout, PagedKv};
use crate::tensor::{DType, TensorView, TensorViewMut};

/// Which columns of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Column `i` with `i + rotary_dim / 2`, as in Hugging Face's checkpoints of Llama.
    Halves,
    /// Column `2 i` with `2 i + 1`, as in the paper and in GGUF files of Llama.
    Neighbours,
}

/// What [`rope_and_cache`] reads.
#[derive(Debug, Clone, Copy)]
pub struct RopeArguments<'a> {
    /// Cosines of the angles: `[max_positions, rotary_dim / 2]`.
    pub cos: TensorView<'a>,
    /// Sines of the angles: `[max_positions, rotary_dim / 2]`.
    pub sin: TensorView<'a>,
    /// Which columns turn together; those past `rotary_dim` stay.
    pub style: RopeStyle,
    /// Norms of the heads of q and k, taken before they turn.
    pub norms: Option<HeadNorms<'a>>,
    /// Heads of q; k and v have as many as the cache.
    pub num_heads: usize,
}

/// Weights of the norms of single heads, as in [`crate::ops::add_rms_norm()`]; all heads share them.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms<'a> {
    /// `[1, head_dim]`
    pub q: TensorView<'a>,
    /// `[1, head_dim]`
    pub k: TensorView<'a>,
    /// Added to a mean of squares.
    pub epsilon: f32,
}

/// Normalises, if asked to, and turns q and k in place, then writes k and v to the batch's slots.
///
/// # Shapes
///
/// - `qkv`: `[tokens, (num_heads + 2 * kv_heads) * head_dim]`: q, then k, then v
/// - `kv`: keys and values `[blocks, kv_heads, block_size, head_dim]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree,
/// [`KernelError::OverLimit`] if a position is not in the table or a block not in the cache,
/// [`KernelError::Invalid`] if the batch was made for another block size.
///
/// Source: Su et al., "`RoFormer`: Enhanced Transformer with Rotary Position Embedding", 2021.
pub fn rope_and_cache(
    device: &Device,
    batch: &StepBatch,
    arguments: RopeArguments<'_>,
    mut qkv: TensorViewMut<'_>,
    kv: &mut PagedKv,
) -> Result<(), KernelError> {
    let layout = kv.layout();
    expect_batch_fits(batch, &layout)?;
    let columns = (arguments.num_heads + 2 * layout.num_kv_heads) * layout.head_dim;
    expect_shape("qkv", qkv.shape(), [batch.num_tokens(), columns])?;
    let [max_positions, num_pairs] = arguments.cos.shape();
    expect_shape("sin", arguments.sin.shape(), [max_positions, num_pairs])?;
    expect_at_most("rotary_dim", 2 * num_pairs, layout.head_dim)?;
    if let Some(norms) = arguments.norms {
        expect_shape("norm of q", norms.q.shape(), [1, layout.head_dim])?;
        expect_shape("norm of k", norms.k.shape(), [1, layout.head_dim])?;
    }
    // A batch that stands for others of its shape has tokens and no position.
    if let Some(position) = batch.largest_position() {
        expect_at_most("positions", position as usize + 1, max_positions)?;
    }
    if batch.num_tokens() == 0 {
        return Ok(());
    }
    match device {
        Device::Cpu(cpu) => {
            let norms = arguments.norms.map(head_norm_weights).transpose()?;
            let rope = cpu::Rope {
                positions: batch.positions(),
                slots: batch.slots(),
                cos: arguments.cos.as_f32("cos")?,
                sin: arguments.sin.as_f32("sin")?,
                num_pairs,
                style: arguments.style,
                norms,
                num_heads: arguments.num_heads,
                kv: layout,
            };
            let qkv = qkv.as_f32_mut("qkv")?;
            let (keys, values) = kv.parts_mut();
            match layout.dtype {
                DType::F32 => {
                    cpu::rope_and_cache::<f32>(cpu, rope, qkv, keys.host_mut()?, values.host_mut()?);
                }
                DType::F16 => {
                    cpu::rope_and_cache::<f16>(cpu, rope, qkv, keys.host_mut()?, values.host_mut()?);
                }
                DType::BF16 => {
                    cpu::rope_and_cache::<bf16>(cpu, rope, qkv, keys.host_mut()?, values.host_mut()?);
                }
                DType::E4M3 => return Err(layout.not_on_cpu()),
            }
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            crate::cuda::dispatch::rope_and_cache(cuda, batch.on_gpu()?, arguments, qkv, kv)?;
        }
    }
    Ok(())
}

fn head_norm_weights(norms: HeadNorms<'_>) -> Result<cpu::HeadNormWeights<'_>, KernelError> {
    Ok(cpu::HeadNormWeights {
        q: norms.q.as_f32("norm of q")?,
        k: norms.k.as_f32("norm of k")?,
        epsilon: norms.epsilon,
    })
}

/// Refuses a batch whose blocks are not those of the cache.
pub(super) fn expect_batch_fits(batch: &StepBatch, layout: &KvLayout) -> Result<(), KernelError> {
    if batch.limits().block_size != layout.block_size {
        return Err(KernelError::Invalid {
            name: "block_size of the batch",
            value: batch.limits().block_size,
            rule: "equal the block size of the KV cache",
        });
    }
    let num_blocks = batch.largest_block().map_or(0, |block| block as usize + 1);
    expect_at_most("blocks named by the batch", num_blocks, layout.num_blocks)
}

#[cfg(test)]
mod tests;

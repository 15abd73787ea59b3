//! Gathers rows of the embedding table.

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_at_most, expect_shape};
use crate::tensor::TensorViewMut;
use crate::weight::PackedWeight;

/// `out[t] = table[tokens[t]]` in f32, and times `scale` if there is one.
///
/// A quantised table is widened row by row.
///
/// # Shapes
///
/// - `table`: `[vocab, hidden]`
/// - `out`: `[tokens, hidden]`
///
/// # Errors
///
/// [`KernelError::Shape`] if the shapes disagree, [`KernelError::OverLimit`] if a token is not in the
/// table.
pub fn embed(
    device: &Device,
    batch: &StepBatch,
    table: &PackedWeight,
    scale: Option<f32>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [vocab, hidden] = table.shape();
    expect_shape("out", out.shape(), [batch.num_tokens(), hidden])?;
    for &token in batch.tokens() {
        expect_at_most("token", token as usize, vocab - 1)?;
    }
    match device {
        Device::Cpu(cpu) => {
            cpu::embed(cpu, batch.tokens(), table.as_cpu()?, scale, out.as_f32_mut("out")?);
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => crate::cuda::dispatch::embed(cuda, batch.on_gpu()?, table, scale, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Gathers rows of the embedding table.

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_at_most, expect_shape};
#[cfg(feature = "cuda")]
use crate::feed::SAMPLED_FLAG;
use crate::feed::TokenFeed;
use crate::tensor::TensorViewMut;
use crate::weight::PackedWeight;

/// `out[t] = table[tokens[t]]` in f32, and times `scale` if there is one.
///
/// A quantised table is widened row by row. On a GPU it comes first in a step: there a token of
/// [`crate::SAMPLED_FLAG`] or more names a row of the step before, whose token `feed` has.
///
/// # Shapes
///
/// - `table`: `[vocab, hidden]`
/// - `out`: `[tokens, hidden]`
///
/// # Errors
///
/// [`KernelError::Shape`] if the shapes disagree, [`KernelError::OverLimit`] if a token is not in the
/// table or the row that it names cannot be.
pub fn embed(
    device: &Device,
    batch: &StepBatch,
    feed: &mut TokenFeed,
    table: &PackedWeight,
    scale: Option<f32>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [vocab, hidden] = table.shape();
    expect_shape("out", out.shape(), [batch.num_tokens(), hidden])?;
    match device {
        Device::Cpu(cpu) => {
            #[cfg(not(feature = "cuda"))]
            let _ = feed;
            for &token in batch.tokens() {
                expect_at_most("token", token as usize, vocab - 1)?;
            }
            cpu::embed(cpu, batch.tokens(), table.as_cpu()?, scale, out.as_f32_mut("out")?);
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let feed = feed.on_gpu_mut()?;
            for &token in batch.tokens() {
                match token.checked_sub(SAMPLED_FLAG) {
                    None => expect_at_most("token", token as usize, vocab - 1)?,
                    Some(row) => expect_at_most("row of the step before", row as usize, feed.num_rows() - 1)?,
                }
            }
            crate::cuda::dispatch::embed(cuda, (batch.on_gpu()?, feed), table, scale, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

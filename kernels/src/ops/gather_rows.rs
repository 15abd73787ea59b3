//! Collects the rows whose logits are wanted, so that the widest product is done for them only.

use std::ops::Range;

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_at_most, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};

/// `out[i] = x[logit_tokens[range.start + i]]`.
///
/// # Shapes
///
/// - `x`: `[tokens, hidden]`
/// - `out`: `[range.len(), hidden]`, where `range` lies within the tokens that need logits
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree, [`KernelError::OverLimit`] if the
/// range ends past the tokens that need logits.
pub fn gather_rows(
    device: &Device,
    batch: &StepBatch,
    range: Range<usize>,
    x: TensorView<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [_, hidden] = x.shape();
    expect_shape("x", x.shape(), [batch.num_tokens(), hidden])?;
    expect_at_most("end of the range", range.end, batch.num_logits())?;
    expect_shape("out", out.shape(), [range.len(), hidden])?;
    if hidden == 0 {
        return Ok(());
    }
    match device {
        Device::Cpu(_) => {
            let tokens = &batch.logit_tokens()[range];
            cpu::gather_rows(tokens, x.as_f32("x")?, out.as_f32_mut("out")?, hidden);
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => crate::cuda::dispatch::gather_rows(cuda, batch.on_gpu()?, range, x, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Collects the rows whose logits are wanted, so that the widest product is done for them only.

use crate::batch::StepBatch;
use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};

/// `out[i] = x[logit_tokens[i]]`.
///
/// # Shapes
///
/// - `x`: `[tokens, hidden]`
/// - `out`: `[logits, hidden]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree.
pub fn gather_rows(
    device: &Device,
    batch: &StepBatch,
    x: TensorView<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [_, hidden] = x.shape();
    expect_shape("x", x.shape(), [batch.num_tokens(), hidden])?;
    expect_shape("out", out.shape(), [batch.num_logits(), hidden])?;
    if hidden == 0 {
        return Ok(());
    }
    match device {
        Device::Cpu(_) => {
            cpu::gather_rows(batch.logit_tokens(), x.as_f32("x")?, out.as_f32_mut("out")?, hidden);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

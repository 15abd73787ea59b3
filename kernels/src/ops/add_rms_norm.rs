//! Adds a layer's output to the residual, and normalises the sum.

use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};

/// What [`add_rms_norm`] reads.
#[derive(Debug, Clone, Copy)]
pub struct NormArguments<'a> {
    /// Added to the residual first, if there is one: `[tokens, hidden]`.
    pub delta: Option<Delta<'a>>,
    /// `[1, hidden]`
    pub weight: TensorView<'a>,
    /// Added to a mean of squares.
    pub epsilon: f32,
}

/// What is added to the residual.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// `[tokens, hidden]`
    pub x: TensorView<'a>,
    /// The weight of a norm of its own that is taken first, with the same epsilon, if there is one: `[1, hidden]`.
    pub norm: Option<TensorView<'a>>,
}

/// `residual += delta`, or its norm, then `out = residual / sqrt(mean(residual^2) + epsilon) * weight`.
///
/// # Shapes
///
/// - `residual`, `out`, `delta.x`: `[tokens, hidden]`
/// - `weight`, `delta.norm`: `[1, hidden]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree.
///
/// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
pub fn add_rms_norm(
    device: &Device,
    arguments: NormArguments<'_>,
    mut residual: TensorViewMut<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [tokens, hidden] = residual.shape();
    expect_shape("weight", arguments.weight.shape(), [1, hidden])?;
    expect_shape("out", out.shape(), [tokens, hidden])?;
    if let Some(delta) = arguments.delta {
        expect_shape("delta", delta.x.shape(), [tokens, hidden])?;
        if let Some(norm) = delta.norm {
            expect_shape("norm of the delta", norm.shape(), [1, hidden])?;
        }
    }
    if tokens == 0 || hidden == 0 {
        return Ok(());
    }
    match device {
        Device::Cpu(cpu) => {
            let delta = arguments.delta.map(|delta| delta.x.as_f32("delta")).transpose()?;
            let delta_weight = arguments.delta.and_then(|delta| delta.norm);
            cpu::add_rms_norm(
                cpu,
                cpu::NormInputs {
                    delta,
                    delta_weight: delta_weight.map(|norm| norm.as_f32("norm of the delta")).transpose()?,
                    weight: arguments.weight.as_f32("weight")?,
                    epsilon: arguments.epsilon,
                },
                residual.as_f32_mut("residual")?,
                out.as_f32_mut("out")?,
            );
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => crate::cuda::dispatch::add_rms_norm(cuda, arguments, residual, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;

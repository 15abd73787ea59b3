//! The product with a weight.

use crate::cpu;
use crate::device::{Device, Workspace};
use crate::error::{KernelError, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};
use crate::weight::PackedWeight;

/// What [`linear`] reads.
#[derive(Debug, Clone, Copy)]
pub struct LinearArguments<'a> {
    /// `[tokens, k]`
    pub x: TensorView<'a>,
    /// `[n, k]`
    pub weight: &'a PackedWeight,
    /// `[1, n]`
    pub bias: Option<TensorView<'a>>,
}

/// `out = x * weight^T + bias`.
///
/// On the CPU with quantised weights, `x` is rounded to 8 bits with a scale for each token and block of 32; with
/// bf16 weights, to bf16. With f32 and f16 weights it stays as it is. Sums are in f32.
///
/// # Shapes
///
/// - `x`: `[tokens, k]`
/// - `weight`: `[n, k]`
/// - `bias`: `[1, n]`
/// - `out`: `[tokens, n]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree,
/// [`KernelError::OverLimit`] if the workspace is too small.
pub fn linear(
    device: &Device,
    workspace: &mut Workspace,
    arguments: LinearArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [n, k] = arguments.weight.shape();
    let [tokens, _] = arguments.x.shape();
    expect_shape("x", arguments.x.shape(), [tokens, k])?;
    expect_shape("out", out.shape(), [tokens, n])?;
    if let Some(bias) = arguments.bias {
        expect_shape("bias", bias.shape(), [1, n])?;
    }
    if tokens == 0 {
        return Ok(());
    }
    match (device, workspace) {
        (Device::Cpu(cpu), Workspace::Cpu(workspace)) => {
            let bias = arguments.bias.map(|bias| bias.as_f32("bias")).transpose()?;
            let inputs =
                cpu::LinearInputs { x: arguments.x.as_f32("x")?, weight: arguments.weight.as_cpu()?, bias };
            cpu::linear(cpu, workspace, inputs, out.as_f32_mut("out")?)
        }
        #[cfg(feature = "cuda")]
        (Device::Cuda(cuda), Workspace::Cuda(_)) => crate::cuda::dispatch::linear(cuda, arguments, out),
        #[cfg(feature = "cuda")]
        _ => Err(KernelError::OtherDevice { name: "workspace" }),
    }
}

#[cfg(test)]
mod tests;

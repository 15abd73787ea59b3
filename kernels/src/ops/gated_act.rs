//! The gated activation between the products of a feed-forward layer.

use crate::cpu;
use crate::device::Device;
use crate::error::{KernelError, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};

/// The gate's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, the usual approximation of `x * Phi(x)`.
    GeluTanh,
}

/// `out = activation(gate) * up`.
///
/// # Shapes
///
/// - `gate_up`: `[tokens, 2 * ffn]`: the gate, then up
/// - `out`: `[tokens, ffn]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree.
///
/// Source: Shazeer, "GLU Variants Improve Transformer", 2020; of the approximation: Hendrycks and Gimpel, "Gaussian
/// Error Linear Units", 2016.
pub fn gated_act(
    device: &Device,
    activation: Activation,
    gate_up: TensorView<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let [tokens, ffn] = out.shape();
    expect_shape("gate_up", gate_up.shape(), [tokens, 2 * ffn])?;
    if tokens == 0 || ffn == 0 {
        return Ok(());
    }
    match device {
        Device::Cpu(cpu) => {
            cpu::gated_act(cpu, activation, gate_up.as_f32("gate_up")?, out.as_f32_mut("out")?, ffn);
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => crate::cuda::dispatch::gated_act(cuda, activation, gate_up, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;

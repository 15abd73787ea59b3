//! The first half of a feed-forward layer: one product for gate and up, and the gated activation after it.

use super::gated_act::{Activation, gated_act};
use super::linear::{LinearArguments, linear};
use crate::device::{Device, Workspace};
use crate::error::{KernelError, expect_shape};
use crate::tensor::{TensorView, TensorViewMut};
use crate::weight::PackedWeight;

/// What is multiplied, and how it gates.
#[derive(Debug, Clone, Copy)]
pub struct GatedLinearArguments<'a> {
    /// `[tokens, k]`
    pub x: TensorView<'a>,
    /// `[2 * ffn, k]`: the rows of the gate, then those of up.
    pub weight: &'a PackedWeight,
    /// The gate's function.
    pub activation: Activation,
}

/// `out = activation(x gate^T) * (x up^T)`.
///
/// Where a device has a product that gates by itself, what lies between is not rounded, and `gate_up` is not written.
///
/// # Shapes
///
/// - `gate_up`: `[tokens, 2 * ffn]`, scratch memory
/// - `out`: `[tokens, ffn]`
///
/// # Errors
///
/// As [`linear`] and [`gated_act`].
pub fn gated_linear(
    device: &Device,
    workspace: &mut Workspace,
    arguments: GatedLinearArguments<'_>,
    mut gate_up: TensorViewMut<'_>,
    out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let GatedLinearArguments { x, weight, activation } = arguments;
    let [tokens, k] = x.shape();
    let [_, ffn] = out.shape();
    expect_shape("gate_up", gate_up.shape(), [tokens, 2 * ffn])?;
    expect_shape("weight", weight.shape(), [2 * ffn, k])?;
    expect_shape("out", out.shape(), [tokens, ffn])?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device
        && crate::cuda::dispatch::can_gate(cuda, weight, tokens)?
    {
        return crate::cuda::dispatch::gated_linear(cuda, arguments, out);
    }
    linear(device, workspace, LinearArguments { x, weight, bias: None }, gate_up.reborrow())?;
    gated_act(device, activation, gate_up.as_view(), out)
}

#[cfg(test)]
mod tests;

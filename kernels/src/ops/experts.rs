//! A mixture of experts: every token goes through a few of many feed-forward networks.
//!
//! Tokens are gathered by expert, so that each expert in use is one product for all its tokens.
//!
//! # Invariants
//!
//! A token's result is summed over its experts in ascending order of their index, which is the token's own; so it does
//! not depend on which other tokens chose the same ones.

use crate::cpu::{self, Routes};
use crate::device::{Device, Workspace};
use crate::error::{KernelError, expect_at_most, expect_shape};
use crate::tensor::{DType, Tensor, TensorView, TensorViewMut};
use crate::weight::PackedWeight;

use super::gated_act::{Activation, gated_act};
use super::linear::{LinearArguments, linear};

/// One gated feed-forward network.
#[derive(Debug)]
pub struct Expert {
    /// The gate, then up: `[2 * ffn, hidden]`
    pub gate_up: PackedWeight,
    /// `[hidden, ffn]`
    pub down: PackedWeight,
}

/// What an expert's result is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertWeighting {
    /// Its probability among all experts.
    OfAll,
    /// Its probability among the chosen ones.
    OfChosen,
}

/// What [`experts`] reads.
#[derive(Debug, Clone, Copy)]
pub struct ExpertsArguments<'a> {
    /// `[tokens, hidden]`
    pub x: TensorView<'a>,
    /// `[tokens, num_experts]`
    pub router_logits: TensorView<'a>,
    /// All of one shape.
    pub experts: &'a [Expert],
    /// How many experts a token goes through.
    pub num_active: usize,
    /// What their results are multiplied with.
    pub weighting: ExpertWeighting,
    /// Between an expert's products.
    pub activation: Activation,
}

/// The largest step of a mixture that an [`ExpertsScratch`] is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertsLimits {
    /// Most tokens.
    pub max_tokens: usize,
    /// Most experts.
    pub max_experts: usize,
    /// Most experts that a token goes through.
    pub max_active: usize,
    /// Columns of the tokens.
    pub hidden: usize,
    /// Columns between an expert's products.
    pub ffn: usize,
}

/// Lists of who goes where, and one expert's activations. Made once, so that no step allocates.
#[derive(Debug)]
pub struct ExpertsScratch {
    limits: ExpertsLimits,
    routes: Routes,
    /// `[max_tokens, hidden]`
    gathered: Tensor,
    /// `[max_tokens, 2 * ffn]`
    gate_up: Tensor,
    /// `[max_tokens, ffn]`
    activated: Tensor,
    /// `[max_tokens, hidden]`
    results: Tensor,
}

impl ExpertsScratch {
    /// Room for steps up to `limits`.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`], [`KernelError::OverLimit`] for more tokens or experts than 32 bits count, or
    /// `KernelError::CpuOnly` on a GPU.
    pub fn new(device: &Device, limits: ExpertsLimits) -> Result<Self, KernelError> {
        expect_at_most(
            "chosen experts",
            limits.max_tokens.saturating_mul(limits.max_active),
            u32::MAX as usize,
        )?;
        expect_at_most("experts", limits.max_experts, u32::MAX as usize)?;
        device.expect_cpu("a mixture of experts")?;
        let zeros = |columns| Tensor::zeros(device, DType::F32, [limits.max_tokens, columns]);
        Ok(Self {
            limits,
            routes: Routes::new(limits),
            gathered: zeros(limits.hidden)?,
            gate_up: zeros(2 * limits.ffn)?,
            activated: zeros(limits.ffn)?,
            results: zeros(limits.hidden)?,
        })
    }
}

/// `out[t] = sum of weight * expert(x[t])` over the `num_active` experts with the largest logits of token `t`.
///
/// Of equal logits the one with the lower index is chosen. An expert computes
/// `down * (activation(gate * x) * (up * x))`.
///
/// # Shapes
///
/// - `x`, `out`: `[tokens, hidden]`
/// - `router_logits`: `[tokens, num_experts]`
///
/// # Errors
///
/// [`KernelError::Shape`] or [`KernelError::ElementType`] if the arguments disagree,
/// [`KernelError::OverLimit`] if scratch or workspace are too small, [`KernelError::Invalid`] if no expert is to be
/// chosen.
///
/// Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", 2017.
pub fn experts(
    device: &Device,
    workspace: &mut Workspace,
    scratch: &mut ExpertsScratch,
    arguments: ExpertsArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    check(scratch.limits, &arguments, out.shape())?;
    let ExpertsArguments { x, router_logits, experts, num_active, weighting, activation } = arguments;
    let [_, hidden] = x.shape();
    let ExpertsScratch { routes, gathered, gate_up, activated, results, .. } = scratch;
    let cpu = device.expect_cpu("a mixture of experts")?;
    let choice = cpu::Choice { num_experts: experts.len(), num_active, weighting };
    routes.choose(cpu, choice, router_logits.as_f32("router_logits")?);
    out.as_f32_mut("out")?.fill(0.0);
    for (expert_idx, expert) in experts.iter().enumerate() {
        let chosen_by = routes.chosen_by(expert_idx);
        let num_tokens = chosen_by.tokens.len();
        if num_tokens == 0 {
            continue;
        }
        let mut rows = gathered.rows_mut(num_tokens)?;
        cpu::gather_rows(chosen_by.tokens, x.as_f32("x")?, rows.as_f32_mut("gathered")?, hidden);
        let products = LinearArguments { x: gathered.rows(num_tokens)?, weight: &expert.gate_up, bias: None };
        linear(device, workspace, products, gate_up.rows_mut(num_tokens)?)?;
        gated_act(device, activation, gate_up.rows(num_tokens)?, activated.rows_mut(num_tokens)?)?;
        let products = LinearArguments { x: activated.rows(num_tokens)?, weight: &expert.down, bias: None };
        linear(device, workspace, products, results.rows_mut(num_tokens)?)?;
        let results = results.rows(num_tokens)?.as_f32("results")?;
        cpu::add_weighted_rows(cpu, chosen_by, results, out.as_f32_mut("out")?, hidden);
    }
    Ok(())
}

fn check(
    limits: ExpertsLimits,
    arguments: &ExpertsArguments<'_>,
    out: [usize; 2],
) -> Result<(), KernelError> {
    let [tokens, hidden] = arguments.x.shape();
    let num_experts = arguments.experts.len();
    expect_shape("x", arguments.x.shape(), [tokens, limits.hidden])?;
    expect_shape("router_logits", arguments.router_logits.shape(), [tokens, num_experts])?;
    expect_shape("out", out, [tokens, hidden])?;
    for expert in arguments.experts {
        expect_shape("gate_up", expert.gate_up.shape(), [2 * limits.ffn, hidden])?;
        expect_shape("down", expert.down.shape(), [hidden, limits.ffn])?;
    }
    if arguments.num_active == 0 {
        return Err(KernelError::Invalid { name: "num_active", value: 0, rule: "be at least 1" });
    }
    expect_at_most("num_active", arguments.num_active, num_experts.min(limits.max_active))?;
    expect_at_most("experts", num_experts, limits.max_experts)?;
    expect_at_most("tokens", tokens, limits.max_tokens)
}

#[cfg(test)]
mod tests;

//! The activations of one step, made once for the largest step.

use spillway_kernels::{DType, Device, Tensor, Workspace, WorkspaceLimits};

use crate::error::ModelError;
use crate::runner::RunnerLimits;
use crate::spec::DecoderSpec;

/// Where a step's numbers stand between ops.
#[derive(Debug)]
pub(super) struct Buffers {
    /// `[tokens, hidden]`: the sum of all layers so far, but for `delta`.
    pub(super) residual: Tensor,
    /// `[tokens, hidden]`: the last product, to be added to `residual` by the next norm.
    pub(super) delta: Tensor,
    /// `[tokens, hidden]`
    pub(super) normed: Tensor,
    /// `[tokens, (num_heads + 2 * num_kv_heads) * head_dim]`
    pub(super) qkv: Tensor,
    /// `[tokens, num_heads * head_dim]`
    pub(super) attended: Tensor,
    /// `[tokens, 2 * ffn]`
    pub(super) gate_up: Tensor,
    /// `[tokens, ffn]`
    pub(super) activated: Tensor,
    /// `[logits_of_a_slice, hidden]`
    pub(super) gathered: Tensor,
    /// `[logits_of_a_slice, vocab]`
    pub(super) logits: Tensor,
    /// Scratch memory of the ops themselves.
    pub(super) workspace: Workspace,
}

impl Buffers {
    pub(super) fn new(
        device: &Device,
        spec: &DecoderSpec,
        limits: &RunnerLimits,
    ) -> Result<Self, ModelError> {
        let tokens = limits.max_num_batched_tokens as usize;
        let rows = limits.max_num_seqs as usize;
        let zeros = |rows, columns| Tensor::zeros(device, DType::F32, [rows, columns]);
        let max_columns = spec.hidden_size.max(spec.ffn_size).max(spec.q_size());
        Ok(Self {
            residual: zeros(tokens, spec.hidden_size)?,
            delta: zeros(tokens, spec.hidden_size)?,
            normed: zeros(tokens, spec.hidden_size)?,
            qkv: zeros(tokens, spec.q_size() + 2 * spec.kv_size())?,
            attended: zeros(tokens, spec.q_size())?,
            gate_up: zeros(tokens, 2 * spec.ffn_size)?,
            activated: zeros(tokens, spec.ffn_size)?,
            gathered: zeros(rows, spec.hidden_size)?,
            logits: zeros(rows, spec.vocab_size)?,
            workspace: Workspace::new(
                device,
                WorkspaceLimits { max_tokens: tokens, max_columns, head_dim: spec.head_dim },
            )?,
        })
    }
}

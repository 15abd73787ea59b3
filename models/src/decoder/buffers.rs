//! The activations of one step, made once for the largest step.

use spillway_kernels::ops::{ExpertsLimits, ExpertsScratch};
#[cfg(feature = "cuda")]
use spillway_kernels::sampling::StepSampler;
use spillway_kernels::{BatchLimits, DType, Device, Tensor, TokenFeed, Workspace, WorkspaceLimits};

use crate::error::ModelError;
use crate::runner::RunnerLimits;
use crate::spec::{DecoderSpec, FeedForward, LayerSpec};

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
    /// Where logits of a device with memory of its own are copied to: as many.
    pub(super) host_logits: Vec<f32>,
    /// What the step before has sampled.
    pub(super) feed: TokenFeed,
    /// Where the device chooses tokens.
    #[cfg(feature = "cuda")]
    pub(super) sampler: Option<StepSampler>,
    /// There if any layer has experts.
    pub(super) mixture: Option<Mixture>,
    /// Scratch memory of the ops themselves.
    pub(super) workspace: Workspace,
}

/// What a mixture of experts needs besides.
#[derive(Debug)]
pub(super) struct Mixture {
    /// `[tokens, num_experts]`
    pub(super) router_logits: Tensor,
    pub(super) scratch: ExpertsScratch,
}

impl Buffers {
    pub(super) fn new(
        device: &Device,
        spec: &DecoderSpec,
        limits: &RunnerLimits,
        batch_limits: &BatchLimits,
    ) -> Result<Self, ModelError> {
        let tokens = limits.max_num_batched_tokens as usize;
        let rows = limits.max_num_seqs as usize;
        let ffn_size = spec.largest_ffn_size();
        let zeros = |rows, columns| Tensor::zeros(device, device.activation_dtype(), [rows, columns]);
        let exact = |rows, columns| Tensor::zeros(device, DType::F32, [rows, columns]);
        let num_host_logits = if device.shares_host_memory() { 0 } else { rows * spec.vocab_size };
        let max_columns = spec.hidden_size.max(ffn_size).max(spec.q_size());
        Ok(Self {
            residual: exact(tokens, spec.hidden_size)?,
            delta: zeros(tokens, spec.hidden_size)?,
            normed: zeros(tokens, spec.hidden_size)?,
            qkv: zeros(tokens, spec.q_size() + 2 * spec.kv_size())?,
            attended: zeros(tokens, spec.q_size())?,
            gate_up: zeros(tokens, 2 * ffn_size)?,
            activated: zeros(tokens, ffn_size)?,
            gathered: zeros(rows, spec.hidden_size)?,
            logits: exact(rows, spec.vocab_size)?,
            host_logits: vec![0.0; num_host_logits],
            feed: TokenFeed::new(device, batch_limits)?,
            #[cfg(feature = "cuda")]
            sampler: StepSampler::new(device, spec.vocab_size, batch_limits)?,
            mixture: Mixture::new(device, spec, tokens)?,
            workspace: Workspace::new(
                device,
                WorkspaceLimits { max_tokens: tokens, max_rows: rows, max_columns, head_dim: spec.head_dim },
            )?,
        })
    }
}

impl Mixture {
    /// Room for the experts of all layers, which are of one kind.
    fn new(device: &Device, spec: &DecoderSpec, max_tokens: usize) -> Result<Option<Self>, ModelError> {
        let of_layer = |layer: &LayerSpec| match layer.feed_forward {
            FeedForward::Experts { num_experts, num_active, size, .. } => {
                Some((num_experts, num_active, size))
            }
            FeedForward::Dense { .. } => None,
        };
        let Some((num_experts, num_active, size)) = spec.layers.iter().find_map(of_layer) else {
            return Ok(None);
        };
        let limits = ExpertsLimits {
            max_tokens,
            max_experts: num_experts,
            max_active: num_active,
            hidden: spec.hidden_size,
            ffn: size,
        };
        Ok(Some(Self {
            router_logits: Tensor::zeros(device, DType::F32, [max_tokens, num_experts])?,
            scratch: ExpertsScratch::new(device, limits)?,
        }))
    }
}

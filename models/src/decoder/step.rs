//! One layer of one step: attention, then the feed-forward part, each added to the residual by the next norm.

use spillway_kernels::{Device, PagedKv, StepBatch, ops};

use super::buffers::Buffers;
use super::rope_table::RopeTable;
use super::weights::LayerWeights;
use crate::error::ModelError;
use crate::spec::{Activation, DecoderSpec};

/// What all layers of one step share.
pub(super) struct Step<'a> {
    pub(super) spec: &'a DecoderSpec,
    pub(super) device: &'a Device,
    pub(super) batch: &'a StepBatch,
    pub(super) rope: &'a RopeTable,
}

impl Step<'_> {
    /// `residual += delta; delta = attention(norm(residual))`.
    pub(super) fn attention(
        &self,
        layer: &LayerWeights,
        has_delta: bool,
        kv: &mut PagedKv,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        let delta = if has_delta { Some(buffers.delta.rows(num_tokens)?) } else { None };
        ops::add_rms_norm(
            self.device,
            ops::NormArguments { delta, weight: layer.attention_norm.view(), epsilon: self.spec.norm_eps },
            buffers.residual.rows_mut(num_tokens)?,
            buffers.normed.rows_mut(num_tokens)?,
        )?;
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments { x: buffers.normed.rows(num_tokens)?, weight: &layer.qkv, bias: None },
            buffers.qkv.rows_mut(num_tokens)?,
        )?;
        ops::rope_and_cache(
            self.device,
            self.batch,
            self.rope.arguments(self.spec.num_heads),
            buffers.qkv.rows_mut(num_tokens)?,
            kv,
        )?;
        ops::attention(
            self.device,
            &mut buffers.workspace,
            self.batch,
            ops::AttentionArguments {
                qkv: buffers.qkv.rows(num_tokens)?,
                kv,
                num_heads: self.spec.num_heads,
                scale: 1.0 / (self.spec.head_dim as f32).sqrt(),
            },
            buffers.attended.rows_mut(num_tokens)?,
        )?;
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments {
                x: buffers.attended.rows(num_tokens)?,
                weight: &layer.attention_output,
                bias: None,
            },
            buffers.delta.rows_mut(num_tokens)?,
        )?;
        Ok(())
    }

    /// `residual += delta; delta = feed_forward(norm(residual))`.
    pub(super) fn feed_forward(&self, layer: &LayerWeights, buffers: &mut Buffers) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        ops::add_rms_norm(
            self.device,
            ops::NormArguments {
                delta: Some(buffers.delta.rows(num_tokens)?),
                weight: layer.ffn_norm.view(),
                epsilon: self.spec.norm_eps,
            },
            buffers.residual.rows_mut(num_tokens)?,
            buffers.normed.rows_mut(num_tokens)?,
        )?;
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments { x: buffers.normed.rows(num_tokens)?, weight: &layer.gate_up, bias: None },
            buffers.gate_up.rows_mut(num_tokens)?,
        )?;
        match self.spec.activation {
            Activation::Silu => ops::gated_act(
                self.device,
                buffers.gate_up.rows(num_tokens)?,
                buffers.activated.rows_mut(num_tokens)?,
            )?,
        }
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments { x: buffers.activated.rows(num_tokens)?, weight: &layer.down, bias: None },
            buffers.delta.rows_mut(num_tokens)?,
        )?;
        Ok(())
    }
}

//! The parts of one step: the embedding, the two halves of a layer, the head.
//!
//! Of a layer: attention, then the feed-forward part, each added to the residual by the next norm.

use std::ops::Range;

use spillway_kernels::{Device, PagedKv, StepBatch, Tensor, ops};

use super::buffers::Buffers;
use super::rope_table::RopeTable;
use super::weights::{DecoderWeights, FeedForwardWeights, LayerWeights};
use crate::error::ModelError;
use crate::spec::{DecoderSpec, LayerSpec};

/// What all layers of one step share.
pub(super) struct Step<'a> {
    pub(super) spec: &'a DecoderSpec,
    pub(super) device: &'a Device,
    pub(super) batch: &'a StepBatch,
    pub(super) ropes: &'a [RopeTable],
}

/// What the last part of a layer has left in [`Buffers::delta`].
#[derive(Clone, Copy)]
pub(super) enum Pending<'a> {
    /// Nothing: there was no part before.
    Nothing,
    /// Something to be added to the residual, after a norm of its own if there is one.
    Delta(Option<&'a Tensor>),
}

impl Step<'_> {
    /// `residual = embedding(tokens)`.
    pub(super) fn embed(&self, weights: &DecoderWeights, buffers: &mut Buffers) -> Result<(), ModelError> {
        let residual = buffers.residual.rows_mut(self.batch.num_tokens())?;
        ops::embed(self.device, self.batch, &weights.embedding, weights.embedding_scale, residual)?;
        Ok(())
    }

    /// `logits = head(normed)` for some of the tokens that need logits.
    pub(super) fn head(
        &self,
        weights: &DecoderWeights,
        slice: Range<usize>,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        let num_logits = slice.len();
        ops::gather_rows(
            self.device,
            self.batch,
            slice,
            buffers.normed.rows(self.batch.num_tokens())?,
            buffers.gathered.rows_mut(num_logits)?,
        )?;
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments {
                x: buffers.gathered.rows(num_logits)?,
                weight: weights.head.as_ref().unwrap_or(&weights.embedding),
                bias: None,
            },
            buffers.logits.rows_mut(num_logits)?,
        )?;
        if let Some(cap) = self.spec.logit_soft_cap {
            ops::soft_cap(self.device, cap, buffers.logits.rows_mut(num_logits)?)?;
        }
        Ok(())
    }

    /// `residual += delta; normed = norm(residual)`.
    pub(super) fn add_and_norm(
        &self,
        pending: Pending<'_>,
        weight: &Tensor,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        let delta = match pending {
            Pending::Nothing => None,
            Pending::Delta(norm) => {
                Some(ops::Delta { x: buffers.delta.rows(num_tokens)?, norm: norm.map(Tensor::view) })
            }
        };
        ops::add_rms_norm(
            self.device,
            ops::NormArguments { delta, weight: weight.view(), epsilon: self.spec.norm_eps },
            buffers.residual.rows_mut(num_tokens)?,
            buffers.normed.rows_mut(num_tokens)?,
        )?;
        Ok(())
    }

    /// `delta = attention(normed)`.
    pub(super) fn attention(
        &self,
        weights: &LayerWeights,
        layer: &LayerSpec,
        kv: &mut PagedKv,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments {
                x: buffers.normed.rows(num_tokens)?,
                weight: &weights.qkv,
                bias: weights.qkv_bias.as_ref().map(Tensor::view),
            },
            buffers.qkv.rows_mut(num_tokens)?,
        )?;
        ops::rope_and_cache(
            self.device,
            self.batch,
            self.rope_arguments(weights, layer),
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
                scale: self.spec.attention.scale,
                window: layer.window,
                soft_cap: self.spec.attention.soft_cap,
            },
            buffers.attended.rows_mut(num_tokens)?,
        )?;
        ops::linear(
            self.device,
            &mut buffers.workspace,
            ops::LinearArguments {
                x: buffers.attended.rows(num_tokens)?,
                weight: &weights.attention_output,
                bias: None,
            },
            buffers.delta.rows_mut(num_tokens)?,
        )?;
        Ok(())
    }

    fn rope_arguments<'a>(&'a self, weights: &'a LayerWeights, layer: &LayerSpec) -> ops::RopeArguments<'a> {
        let table = &self.ropes[layer.rope_idx];
        let norms = weights.head_norms.as_ref().map(|[q, k]| ops::HeadNorms {
            q: q.view(),
            k: k.view(),
            epsilon: self.spec.norm_eps,
        });
        ops::RopeArguments {
            cos: table.cos.view(),
            sin: table.sin.view(),
            style: ops::RopeStyle::Halves,
            norms,
            num_heads: self.spec.num_heads,
        }
    }

    /// `delta = feed_forward(normed)`.
    pub(super) fn feed_forward(
        &self,
        weights: &FeedForwardWeights,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        match weights {
            FeedForwardWeights::Dense { gate_up, down } => {
                ops::linear(
                    self.device,
                    &mut buffers.workspace,
                    ops::LinearArguments { x: buffers.normed.rows(num_tokens)?, weight: gate_up, bias: None },
                    buffers.gate_up.rows_mut(num_tokens)?,
                )?;
                ops::gated_act(
                    self.device,
                    self.spec.activation,
                    buffers.gate_up.rows(num_tokens)?,
                    buffers.activated.rows_mut(num_tokens)?,
                )?;
                ops::linear(
                    self.device,
                    &mut buffers.workspace,
                    ops::LinearArguments { x: buffers.activated.rows(num_tokens)?, weight: down, bias: None },
                    buffers.delta.rows_mut(num_tokens)?,
                )?;
            }
            FeedForwardWeights::Experts { router, experts, num_active, weighting } => {
                let mixture = buffers.mixture.as_mut().expect("made if a layer has experts");
                let x = buffers.normed.rows(num_tokens)?;
                ops::linear(
                    self.device,
                    &mut buffers.workspace,
                    ops::LinearArguments { x, weight: router, bias: None },
                    mixture.router_logits.rows_mut(num_tokens)?,
                )?;
                ops::experts(
                    self.device,
                    &mut buffers.workspace,
                    &mut mixture.scratch,
                    ops::ExpertsArguments {
                        x,
                        router_logits: mixture.router_logits.rows(num_tokens)?,
                        experts,
                        num_active: *num_active,
                        weighting: *weighting,
                        activation: self.spec.activation,
                    },
                    buffers.delta.rows_mut(num_tokens)?,
                )?;
            }
        }
        Ok(())
    }
}

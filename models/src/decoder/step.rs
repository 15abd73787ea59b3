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
enum Pending<'a> {
    /// Nothing: there was no part before.
    Nothing,
    /// Something to be added to the residual, after a norm of its own if there is one.
    Delta(Option<&'a Tensor>),
}

impl Step<'_> {
    /// All layers and the final norm, and the logits of a slice of tokens that need them.
    pub(super) fn all_layers(
        &self,
        weights: &DecoderWeights,
        kv: &mut [PagedKv],
        slice: Range<usize>,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        self.embed(weights, buffers)?;
        let mut pending = Pending::Nothing;
        for ((weights, layer), kv) in weights.layers.iter().zip(&self.spec.layers).zip(kv) {
            self.add_and_norm(pending, &weights.attention_norm, buffers)?;
            self.attention(weights, layer, kv, buffers)?;
            pending = Pending::Delta(weights.post_attention_norm.as_ref());
            self.add_and_norm(pending, &weights.ffn_norm, buffers)?;
            self.feed_forward(&weights.feed_forward, buffers)?;
            pending = Pending::Delta(weights.post_ffn_norm.as_ref());
        }
        self.add_and_norm(pending, &weights.final_norm, buffers)?;
        self.head_and_sample(weights, slice, buffers)
    }

    /// `residual = embedding(tokens)`.
    fn embed(&self, weights: &DecoderWeights, buffers: &mut Buffers) -> Result<(), ModelError> {
        let Buffers { residual, feed, .. } = buffers;
        let residual = residual.rows_mut(self.batch.num_tokens())?;
        ops::embed(self.device, self.batch, feed, &weights.embedding, weights.embedding_scale, residual)?;
        Ok(())
    }

    /// The logits of some of the tokens that need logits, and the tokens chosen from them, if the device does that.
    pub(super) fn head_and_sample(
        &self,
        weights: &DecoderWeights,
        slice: Range<usize>,
        buffers: &mut Buffers,
    ) -> Result<(), ModelError> {
        self.head(weights, slice.clone(), buffers)?;
        #[cfg(feature = "cuda")]
        self.sample(slice, buffers)?;
        Ok(())
    }

    /// `logits = head(normed)` for some of the tokens that need logits.
    fn head(
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

    /// Chooses tokens from logits that [`Self::head`] has left, if the device does that in this step.
    #[cfg(feature = "cuda")]
    fn sample(&self, slice: Range<usize>, buffers: &mut Buffers) -> Result<(), ModelError> {
        let Buffers { logits, feed, sampler, .. } = buffers;
        if let Some(sampler) = sampler.as_mut().filter(|_| self.batch.samples_on_device()) {
            sampler.sample(self.device, self.batch, feed, slice.clone(), logits.rows(slice.len())?)?;
        }
        Ok(())
    }

    /// `residual += delta; normed = norm(residual)`.
    fn add_and_norm(
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
    fn attention(
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
    fn feed_forward(&self, weights: &FeedForwardWeights, buffers: &mut Buffers) -> Result<(), ModelError> {
        let num_tokens = self.batch.num_tokens();
        match weights {
            FeedForwardWeights::Dense { gate_up, down } => {
                ops::gated_linear(
                    self.device,
                    &mut buffers.workspace,
                    ops::GatedLinearArguments {
                        x: buffers.normed.rows(num_tokens)?,
                        weight: gate_up,
                        activation: self.spec.activation,
                    },
                    buffers.gate_up.rows_mut(num_tokens)?,
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

//! What every executor's model does: compute one step's logits.

use std::fmt;

use crate::batch::{ForwardBatch, SampledTokens};
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::spec::DecoderSpec;

/// A decoder with weights: the native one, or candle's.
pub trait Model: Send {
    /// What kind of transformer this is.
    fn spec(&self) -> &DecoderSpec;

    /// Computes all tokens of a batch, writes their keys and values, and hands the logits of those that need them to
    /// `sink`: in the batch's order, a slice at a time, since those of a whole prompt would take much memory.
    ///
    /// The batch has been checked, and all its tokens are known.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the step could not be computed; the cache's blocks of its rows are then undefined.
    fn forward(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError>;

    /// Makes ready what steps would else make when they first need it, and says for how many shapes of steps that was. Steps
    /// may come without.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the device cannot.
    fn prepare(&mut self, _kv: &mut KvCache) -> Result<usize, ModelError> {
        Ok(0)
    }

    /// Begins a step whose tokens the device chooses, and returns before it is done; none if the host is to choose from
    /// the logits of [`Self::forward`], and then nothing has been begun.
    ///
    /// The batch has been checked. Its tokens may be those that the step before sampled, if that was begun here, too.
    ///
    /// # Errors
    ///
    /// As [`Self::forward`].
    fn launch(
        &mut self,
        _batch: &ForwardBatch,
        _kv: &mut KvCache,
    ) -> Result<Option<Box<dyn PendingTokens>>, ModelError> {
        Ok(None)
    }
}

/// The tokens of a step that a device computes.
pub trait PendingTokens: Send + fmt::Debug {
    /// Waits for them. `batch` is the one that was launched.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the step failed.
    fn wait(self: Box<Self>, batch: &ForwardBatch) -> Result<SampledTokens, ModelError>;
}

/// Logits of some tokens, in the batch's order: `[tokens_of_the_slice, vocab]`.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    values: &'a [f32],
    vocab_size: usize,
}

impl<'a> Logits<'a> {
    /// Wraps row-major logits.
    pub fn new(values: &'a [f32], vocab_size: usize) -> Self {
        Self { values, vocab_size }
    }

    /// One row after the other, each `[vocab]`.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.vocab_size)
    }
}

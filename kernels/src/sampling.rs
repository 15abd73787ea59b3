//! The choice of tokens on the device that computed their logits, without a wait for the host.
//!
//! What rows ask for is part of the step's batch ([`StepBatch::sampling_mut`]); what came of it is read back while later
//! steps compute. The CPU has no such thing: there the host reads the logits where they are.

use std::ops::Range;

pub use crate::cuda::ops::sampling::{
    Choice, Draw, Exclusion, MAX_VOCAB, OutputToken, RowLists, RowOutcome, RowPenalties, SamplingRows,
};

use crate::batch::{BatchLimits, StepBatch};
use crate::cuda::dispatch::{CudaSampler, CudaTokens};
use crate::device::Device;
use crate::error::{KernelError, expect_shape};
use crate::feed::TokenFeed;
use crate::tensor::TensorView;

/// Chooses the tokens of steps on a GPU.
#[derive(Debug)]
pub struct StepSampler {
    vocab: usize,
    on_gpu: CudaSampler,
}

impl StepSampler {
    /// Memory for steps up to `limits`; none on a device that leaves the choice to the host, and for vocabularies above
    /// [`MAX_VOCAB`].
    ///
    /// # Errors
    ///
    /// [`KernelError::Cuda`] if the device has no room.
    pub fn new(device: &Device, vocab: usize, limits: &BatchLimits) -> Result<Option<Self>, KernelError> {
        match device {
            Device::Cuda(cuda) if vocab <= MAX_VOCAB => {
                Ok(Some(Self { vocab, on_gpu: CudaSampler::new(cuda, vocab, limits)? }))
            }
            Device::Cpu(_) | Device::Cuda(_) => Ok(None),
        }
    }

    /// Chooses or scores tokens for some of the logits that `batch` needs: those numbered `slice`.
    ///
    /// Enqueues kernels and returns. What rows of decodes sample is put into `feed`, for the next step.
    ///
    /// # Shapes
    ///
    /// - `logits`: `[slice, vocab]`
    ///
    /// # Errors
    ///
    /// [`KernelError::Shape`], [`KernelError::OtherDevice`], [`KernelError::Cuda`].
    pub fn sample(
        &mut self,
        device: &Device,
        batch: &StepBatch,
        feed: &mut TokenFeed,
        slice: Range<usize>,
        logits: TensorView<'_>,
    ) -> Result<(), KernelError> {
        let Device::Cuda(cuda) = device else { return Err(KernelError::OtherDevice { name: "logits" }) };
        expect_shape("logits", logits.shape(), [slice.len(), self.vocab])?;
        let logits = logits.as_device("logits")?;
        Ok(self.on_gpu.sample(cuda, batch, feed.on_gpu_mut()?, slice, logits)?)
    }

    /// Enqueues the copy of what came of a whole step, whose logits were sampled in slices of `slice_len`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Cuda`].
    pub fn read_back(&self, batch: &StepBatch, slice_len: usize) -> Result<ChosenTokens, KernelError> {
        Ok(ChosenTokens(self.on_gpu.read_back(batch, slice_len)?))
    }
}

/// What came of a step, on its way to the host.
#[derive(Debug)]
pub struct ChosenTokens(CudaTokens);

impl ChosenTokens {
    /// Waits until the step is done.
    ///
    /// # Errors
    ///
    /// [`KernelError::Cuda`] if it failed.
    pub fn wait(&self) -> Result<(), KernelError> {
        Ok(self.0.wait()?)
    }

    /// How many logits were sampled or scored.
    pub fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    /// What came of logits `row_idx`, and the likeliest tokens with their log-probabilities: `num_top` of them, which the
    /// row must have asked for. Waits until the step is done.
    ///
    /// # Errors
    ///
    /// [`KernelError::Cuda`] if the step failed.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(
        &self,
        row_idx: usize,
        num_top: usize,
    ) -> Result<(RowOutcome, impl Iterator<Item = (u32, f32)>), KernelError> {
        Ok(self.0.row(row_idx, num_top)?)
    }
}

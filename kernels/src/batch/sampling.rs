//! What the rows of a step ask of the device's sampler, beside what they compute.

use super::StepBatch;
use crate::cuda::ops::sampling::SamplingRows;
use crate::error::KernelError;

/// What the rows of a step ask of the device's sampler.
#[derive(Debug)]
pub(super) struct StepSampling {
    pub(super) rows: SamplingRows,
    /// Most words of their lists.
    pub(super) max_list_words: usize,
    /// Whether this step's tokens are chosen on the device.
    pub(super) is_on: bool,
}

impl StepBatch {
    /// Makes room for what rows ask of the device's sampler: lists of `max_list_words` words in all. Call it before the first
    /// upload.
    ///
    /// # Errors
    ///
    /// [`KernelError::Cuda`] for a vocabulary that the sampler does not take.
    pub fn with_sampling(mut self, vocab: usize, max_list_words: usize) -> Result<Self, KernelError> {
        let rows = SamplingRows::new(vocab, self.limits.max_rows)?;
        self.sampling = Some(StepSampling { rows, max_list_words, is_on: false });
        Ok(self)
    }

    /// What the rows of this step ask of the device's sampler, to be filled with one entry for each token that needs logits.
    /// None without [`Self::with_sampling`].
    pub fn sampling_mut(&mut self) -> Option<&mut SamplingRows> {
        self.sampling.as_mut().map(|sampling| &mut sampling.rows)
    }

    /// Whether the device chooses this step's tokens: if all that rows ask for has room. Else it is forgotten, and the host
    /// must choose. Call it once all rows are there.
    pub fn settle_sampling(&mut self) -> bool {
        let num_logits = self.num_logits();
        let Some(sampling) = &mut self.sampling else { return false };
        sampling.is_on =
            sampling.rows.len() == num_logits && sampling.rows.lists().len() <= sampling.max_list_words;
        if !sampling.is_on {
            sampling.rows.clear();
        }
        sampling.is_on
    }

    /// Whether the device chooses this step's tokens.
    pub fn samples_on_device(&self) -> bool {
        self.sampling().is_some()
    }

    /// What rows ask of the device's sampler, if it chooses this step's tokens.
    pub(crate) fn sampling(&self) -> Option<&SamplingRows> {
        self.sampling.as_ref().filter(|sampling| sampling.is_on).map(|sampling| &sampling.rows)
    }
}

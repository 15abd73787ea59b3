//! Batches that are filled up to a size that is recorded, or that stand for a shape without any sequence.

use super::StepBatch;
use crate::device::Device;
use crate::error::KernelError;

/// A shape of steps that come often: so many decodes, the longest of so many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehearsal {
    pub(crate) num_rows: usize,
    pub(crate) max_context: usize,
}

impl StepBatch {
    /// The shapes of steps that are worth recording before the first request, the largest first. None on the CPU, and where
    /// steps are not recorded.
    ///
    /// # Errors
    ///
    /// As [`Self::upload`], which makes the room on the device.
    pub fn rehearsals(&mut self, device: &Device) -> Result<Vec<Rehearsal>, KernelError> {
        self.clear();
        self.upload(device)?;
        #[cfg(feature = "cuda")]
        if let Some(on_gpu) = &self.on_gpu {
            return Ok(on_gpu.rehearsals());
        }
        Ok(Vec::new())
    }

    /// Makes this a batch of a rehearsal's shape: without any sequence, so that its step writes nothing that is kept.
    #[cfg(feature = "cuda")]
    pub fn fill_rehearsal(&mut self, rehearsal: Rehearsal) {
        self.clear();
        self.rehearsal = Some(rehearsal);
        if let Some(sampling) = &mut self.sampling {
            sampling.is_on = true;
        }
        self.pad(rehearsal.num_rows);
    }

    /// The keys for which launches are to be planned at least.
    #[cfg(feature = "cuda")]
    pub(crate) fn rehearsed_context(&self) -> usize {
        self.rehearsal.map_or(0, |rehearsal| rehearsal.max_context)
    }

    /// Adds rows of one token that belong to no sequence, up to `num_rows`. They want logits if all others do, so that
    /// the step's shape follows from the number of rows.
    #[cfg(feature = "cuda")]
    pub(super) fn pad(&mut self, num_rows: usize) {
        let all_want_logits = self.logit_tokens.len() == self.num_rows();
        while self.num_rows() < num_rows {
            if all_want_logits {
                self.logit_tokens.push(self.tokens.len() as u32);
            }
            self.tokens.push(0);
            self.positions.push(0);
            self.slots.push(crate::cuda::dispatch::PADDING_SLOT);
            self.query_starts.push(self.tokens.len() as u32);
            self.block_starts.push(self.blocks.len() as u32);
            self.num_padding_rows += 1;
        }
        let num_logits = self.num_logits();
        if let Some(sampling) = self.sampling.as_mut().filter(|sampling| sampling.is_on) {
            while sampling.rows.len() < num_logits {
                sampling.rows.push_idle();
            }
        }
    }
}

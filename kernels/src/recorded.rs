//! Runs a step's ops, on a GPU from a recording where there is one.
//!
//! Enqueuing a step's few hundred kernels one by one costs the host more than a small model's kernels cost
//! the GPU. A step of decodes alone launches the same kernels whenever its shape is the same, so it is
//! recorded, and replayed with one call from then on. Shapes that are known beforehand are rehearsed at start
//! ([`crate::StepBatch::rehearsals`]); any other is recorded when it is seen for the second time.
//! What differs (tokens, lengths, block tables) is read from device memory. On the CPU a step just runs.
//!
//! # Invariants
//!
//! - A recording holds addresses: of the model's buffers, of one batch and of one KV cache. So there is one
//!   [`RecordedSteps`] for each batch of each model, and a recording is used with the cache it was made with only.
//!
//! Deliberately absent: steps with chunks of prompts, whose shapes hardly ever repeat.

use crate::batch::StepBatch;
use crate::device::Device;
use crate::error::KernelError;
use crate::kv::PagedKv;

#[cfg(feature = "cuda")]
mod graphs;
#[cfg(feature = "cuda")]
pub(crate) use graphs::MAX_GRAPHS;

/// Steps recorded so far.
#[derive(Debug, Default)]
pub struct RecordedSteps {
    #[cfg(feature = "cuda")]
    graphs: graphs::Graphs,
}

impl RecordedSteps {
    /// Records `step` over an uploaded `batch` that stands for its shape ([`crate::StepBatch::fill_rehearsal`]). It also runs
    /// the first time for each number of tokens, so that choices made once (a product's algorithm) are made before.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn rehearse<E: From<KernelError>>(
        &mut self,
        device: &Device,
        batch: &StepBatch,
        kv: &mut [PagedKv],
        step: impl FnMut(&mut [PagedKv]) -> Result<(), E>,
    ) -> Result<(), E> {
        #[cfg(not(feature = "cuda"))]
        let _ = (batch, kv, step);
        match device {
            Device::Cpu(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => self.graphs.rehearse(cuda, batch.on_gpu()?, kv, step),
        }
    }

    /// How many shapes of steps have been recorded.
    #[cfg(feature = "cuda")]
    pub fn num_recorded(&self) -> usize {
        self.graphs.num_recorded()
    }

    /// Runs `step` over an uploaded `batch` and the KV cache of which `kv` is the first layer: the ops of one forward
    /// pass, always the same ones over the same buffers, without reading anything back in between.
    ///
    /// # Errors
    ///
    /// Those of `step`, and `KernelError::Cuda`.
    pub fn run<E: From<KernelError>>(
        &mut self,
        device: &Device,
        batch: &StepBatch,
        kv: &mut [PagedKv],
        step: impl FnOnce(&mut [PagedKv]) -> Result<(), E>,
    ) -> Result<(), E> {
        #[cfg(not(feature = "cuda"))]
        let _ = batch;
        match device {
            Device::Cpu(_) => step(kv),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => self.graphs.run(cuda, batch.on_gpu()?, kv, step),
        }
    }
}

//! Tokens that go from one step into the next without passing the host.
//!
//! On a device that also chooses tokens, a step can be enqueued before the host has seen what the step before it sampled:
//! its batch then names rows of that step, and the device looks their tokens up.
//!
//! In a request's path: written by the sampler at the end of a step, read by [`crate::ops::embed`] at the beginning of the next.

use crate::batch::BatchLimits;
#[cfg(feature = "cuda")]
use crate::cuda::dispatch::CudaFeed;
use crate::device::Device;
use crate::error::KernelError;

/// Added to the number of a row of the step before to say "the token that row sampled". Only a GPU understands it.
pub const SAMPLED_FLAG: u32 = 1 << 31;

/// What one step sampled, for the next one; nothing on the CPU, where the host knows it.
#[derive(Debug)]
pub struct TokenFeed {
    #[cfg(feature = "cuda")]
    on_gpu: Option<CudaFeed>,
}

impl TokenFeed {
    /// Room for the largest step.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`] or `KernelError::Cuda`.
    pub fn new(device: &Device, limits: &BatchLimits) -> Result<Self, KernelError> {
        #[cfg(not(feature = "cuda"))]
        let _ = limits;
        match device {
            Device::Cpu(_) => Ok(Self {
                #[cfg(feature = "cuda")]
                on_gpu: None,
            }),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Ok(Self { on_gpu: Some(CudaFeed::new(cuda, limits)?) }),
        }
    }

    /// The tokens on the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu_mut(&mut self) -> Result<&mut CudaFeed, KernelError> {
        self.on_gpu.as_mut().ok_or(KernelError::OtherDevice { name: "tokens of the step before" })
    }
}

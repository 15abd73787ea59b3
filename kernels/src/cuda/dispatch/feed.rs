//! What a step sampled, kept on the device for the next one.

use crate::batch::BatchLimits;
use crate::cuda::ops::step::step_inputs;
use crate::cuda::{CudaDevice, CudaError, DeviceBuffer, DeviceSlice, DeviceSliceMut};

/// Tokens on their way from step to step. Addresses are fixed, so a recorded step finds them.
#[derive(Debug)]
pub(crate) struct CudaFeed {
    /// `[tokens]`: those of this step, all of them known.
    inputs: DeviceBuffer<u32>,
    /// `[rows]`: what each row of the last step that sampled has got.
    sampled: DeviceBuffer<u32>,
    /// `[rows]`: the same while a step writes `sampled` anew.
    previous: DeviceBuffer<u32>,
}

impl CudaFeed {
    pub(crate) fn new(device: &CudaDevice, limits: &BatchLimits) -> Result<Self, CudaError> {
        Ok(Self {
            inputs: device.alloc_zeros("a step's tokens", limits.max_tokens)?,
            sampled: device.alloc_zeros("a step's sampled tokens", limits.max_rows)?,
            previous: device.alloc_zeros("the sampled tokens of the step before", limits.max_rows)?,
        })
    }

    /// How many rows may be named.
    pub(crate) fn num_rows(&self) -> usize {
        self.sampled.len()
    }

    /// Begins a step: the tokens of `source`, those among them looked up that the step before sampled.
    pub(super) fn begin_step(
        &mut self,
        device: &CudaDevice,
        source: DeviceSlice<'_, u32>,
    ) -> Result<DeviceSlice<'_, u32>, CudaError> {
        let num_tokens = source.len();
        let mut inputs = self.inputs.as_mut_slice().slice(0..num_tokens);
        let mut previous = self.previous.as_mut_slice();
        step_inputs(device, source, self.sampled.as_slice(), &mut inputs, &mut previous)?;
        Ok(self.inputs.as_slice().slice(0..num_tokens))
    }

    /// What the step before sampled, and where this one writes its own.
    pub(super) fn previous_and_sampled(&mut self) -> (DeviceSlice<'_, u32>, DeviceSliceMut<'_, u32>) {
        (self.previous.as_slice(), self.sampled.as_mut_slice())
    }
}

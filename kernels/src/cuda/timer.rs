//! Times work on the device with its own events.

use cudarc::driver::{CudaEvent, sys};

use super::device::CudaDevice;
use super::error::{Context, CudaError};

/// A pair of events around work on the stream.
#[derive(Debug)]
pub struct DeviceTimer {
    device: CudaDevice,
    start: CudaEvent,
    end: CudaEvent,
}

impl DeviceTimer {
    /// Makes the events.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn new(device: &CudaDevice) -> Result<Self, CudaError> {
        device.bind()?;
        let event = || {
            let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
            device.context().new_event(Some(flags)).context("cuEventCreate")
        };
        Ok(Self { device: device.clone(), start: event()?, end: event()? })
    }

    /// Milliseconds the device spent on what `work` enqueues. Waits for it.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`CudaError::Driver`].
    pub fn time(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<f32, CudaError> {
        self.start.record(self.device.stream()).context("cuEventRecord")?;
        work()?;
        self.end.record(self.device.stream()).context("cuEventRecord")?;
        self.end.synchronize().context("cuEventSynchronize")?;
        self.start.elapsed_ms(&self.end).context("cuEventElapsedTime")
    }
}

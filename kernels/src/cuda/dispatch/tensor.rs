//! A tensor's bytes in device memory.

use crate::cuda::{CudaDevice, CudaError, DeviceBuffer, DeviceSlice, DeviceSliceMut};

/// Owned bytes of a tensor.
#[derive(Debug)]
pub(crate) struct CudaTensor {
    device: CudaDevice,
    buffer: DeviceBuffer<u8>,
}

impl CudaTensor {
    /// Zeros.
    pub(crate) fn zeros(device: &CudaDevice, num_bytes: usize) -> Result<Self, CudaError> {
        Ok(Self { device: device.clone(), buffer: device.alloc_zeros("a tensor", num_bytes)? })
    }

    /// Copies all bytes from the host.
    pub(crate) fn upload(&mut self, bytes: &[u8]) -> Result<(), CudaError> {
        self.device.upload(bytes, &mut self.buffer.as_mut_slice())
    }

    /// The first `num_bytes`, for reading.
    pub(crate) fn view(&self, num_bytes: usize) -> CudaBytes<'_> {
        CudaBytes { device: &self.device, bytes: self.buffer.as_slice().slice(0..num_bytes) }
    }

    /// The first `num_bytes`, for writing.
    pub(crate) fn view_mut(&mut self, num_bytes: usize) -> CudaBytesMut<'_> {
        CudaBytesMut { device: &self.device, bytes: self.buffer.as_mut_slice().slice(0..num_bytes) }
    }
}

/// A tensor's bytes, for reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CudaBytes<'a> {
    device: &'a CudaDevice,
    bytes: DeviceSlice<'a, u8>,
}

impl<'a> CudaBytes<'a> {
    /// The bytes on the device.
    pub(crate) fn bytes(&self) -> DeviceSlice<'a, u8> {
        self.bytes
    }

    /// Copies to the host, and waits.
    pub(crate) fn read(&self, host: &mut [u8]) -> Result<(), CudaError> {
        self.device.download(self.bytes, host)
    }
}

/// A tensor's bytes, for writing.
#[derive(Debug)]
pub(crate) struct CudaBytesMut<'a> {
    device: &'a CudaDevice,
    bytes: DeviceSliceMut<'a, u8>,
}

impl CudaBytesMut<'_> {
    /// The same bytes, borrowed for less long.
    pub(crate) fn reborrow(&mut self) -> CudaBytesMut<'_> {
        CudaBytesMut { device: self.device, bytes: self.bytes.reborrow() }
    }

    /// The same bytes, for reading.
    pub(crate) fn as_view(&self) -> CudaBytes<'_> {
        CudaBytes { device: self.device, bytes: self.bytes.as_slice() }
    }

    /// The bytes on the device.
    pub(crate) fn bytes(&mut self) -> DeviceSliceMut<'_, u8> {
        self.bytes.reborrow()
    }
}

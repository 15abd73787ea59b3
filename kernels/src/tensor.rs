//! Matrices of numbers on a device: an owned [`Tensor`] and checked views of its leading rows.
//!
//! Every tensor is row-major and without gaps, `[rows, columns]`; a vector is one row. A step uses the
//! first `tokens` rows of a buffer made for the largest step, through [`Tensor::rows`].
//!
//! On the CPU, activations are f32; on a GPU, bf16 (see [`Device::activation_dtype`]).

use std::fmt;

use half::{bf16, f16};

#[cfg(feature = "cuda")]
use crate::cuda::dispatch::{CudaBytes, CudaBytesMut, CudaTensor};
#[cfg(feature = "cuda")]
use crate::cuda::{DeviceElement, DeviceSlice, DeviceSliceMut};
use crate::device::Device;
use crate::e4m3::E4m3;
use crate::error::{KernelError, expect_at_most};

pub(crate) mod buffer;

use buffer::{Element, HostBuffer};

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// Eight bits, as in [`E4m3`]: for the KV cache of a GPU.
    E4M3,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::E4M3 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::E4M3 => "fp8_e4m3",
        })
    }
}

/// An owned matrix `[rows, columns]` on one device.
#[derive(Debug)]
pub struct Tensor {
    storage: Storage,
    dtype: DType,
    shape: [usize; 2],
}

/// Where a tensor's bytes are.
#[derive(Debug)]
enum Storage {
    Host(HostBuffer),
    #[cfg(feature = "cuda")]
    Cuda(CudaTensor),
}

/// A matrix borrowed for reading: `[rows, columns]`.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    bytes: ViewBytes<'a>,
    dtype: DType,
    shape: [usize; 2],
}

#[derive(Debug, Clone, Copy)]
enum ViewBytes<'a> {
    Host(&'a [u8]),
    #[cfg(feature = "cuda")]
    Cuda(CudaBytes<'a>),
}

/// A matrix borrowed for writing: `[rows, columns]`.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    bytes: ViewBytesMut<'a>,
    dtype: DType,
    shape: [usize; 2],
}

#[derive(Debug)]
enum ViewBytesMut<'a> {
    Host(&'a mut [u8]),
    #[cfg(feature = "cuda")]
    Cuda(CudaBytesMut<'a>),
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`] if the device has no room.
    pub fn zeros(device: &Device, dtype: DType, shape: [usize; 2]) -> Result<Self, KernelError> {
        let num_bytes = shape[0].saturating_mul(shape[1]).saturating_mul(dtype.size_bytes());
        let storage = match device {
            Device::Cpu(_) => Storage::Host(HostBuffer::zeroed(num_bytes)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Storage::Cuda(CudaTensor::zeros(cuda, num_bytes)?),
        };
        Ok(Self { storage, dtype, shape })
    }

    /// A tensor of element type `dtype` with the given values, rounded to nearest even.
    ///
    /// # Errors
    ///
    /// [`KernelError::ByteLength`] if there are not `rows * columns` values, or
    /// [`KernelError::OutOfMemory`].
    pub fn from_f32(
        device: &Device,
        dtype: DType,
        shape: [usize; 2],
        values: &[f32],
    ) -> Result<Self, KernelError> {
        let expected = shape[0].saturating_mul(shape[1]);
        if values.len() != expected {
            return Err(KernelError::ByteLength {
                name: "values",
                actual_bytes: values.len() * 4,
                expected_bytes: expected.saturating_mul(4),
            });
        }
        let mut tensor = Self::zeros(device, dtype, shape)?;
        match &mut tensor.storage {
            Storage::Host(buffer) => encode(dtype, values, buffer),
            #[cfg(feature = "cuda")]
            Storage::Cuda(tensor) => {
                let mut staged = HostBuffer::zeroed(values.len() * dtype.size_bytes())?;
                encode(dtype, values, &mut staged);
                tensor.upload(staged.as_slice())?;
            }
        }
        Ok(tensor)
    }

    /// `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements in host memory; `T` has the size of the tensor's type.
    pub(crate) fn host<T: Element>(&self) -> Result<&[T], KernelError> {
        assert!(size_of::<T>() == self.dtype.size_bytes(), "elements have the tensor's type");
        match &self.storage {
            Storage::Host(buffer) => Ok(buffer.as_slice()),
            #[cfg(feature = "cuda")]
            Storage::Cuda(_) => Err(KernelError::OtherDevice { name: "tensor" }),
        }
    }

    /// The elements in host memory, for writing; `T` has the size of the tensor's type.
    pub(crate) fn host_mut<T: Element>(&mut self) -> Result<&mut [T], KernelError> {
        assert!(size_of::<T>() == self.dtype.size_bytes(), "elements have the tensor's type");
        match &mut self.storage {
            Storage::Host(buffer) => Ok(buffer.as_mut_slice()),
            #[cfg(feature = "cuda")]
            Storage::Cuda(_) => Err(KernelError::OtherDevice { name: "tensor" }),
        }
    }

    #[cfg(feature = "cuda")]
    fn num_bytes(&self) -> usize {
        self.shape[0] * self.shape[1] * self.dtype.size_bytes()
    }

    /// All of it, for reading.
    pub fn view(&self) -> TensorView<'_> {
        let bytes = match &self.storage {
            Storage::Host(buffer) => ViewBytes::Host(buffer.as_slice()),
            #[cfg(feature = "cuda")]
            Storage::Cuda(tensor) => ViewBytes::Cuda(tensor.view(self.num_bytes())),
        };
        TensorView { bytes, dtype: self.dtype, shape: self.shape }
    }

    /// All of it, for writing.
    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        #[cfg(feature = "cuda")]
        let num_bytes = self.num_bytes();
        let bytes = match &mut self.storage {
            Storage::Host(buffer) => ViewBytesMut::Host(buffer.as_mut_slice()),
            #[cfg(feature = "cuda")]
            Storage::Cuda(tensor) => ViewBytesMut::Cuda(tensor.view_mut(num_bytes)),
        };
        TensorViewMut { bytes, dtype: self.dtype, shape: self.shape }
    }

    /// The first `num_rows` rows, for reading: `[num_rows, columns]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::OverLimit`] if there are fewer.
    pub fn rows(&self, num_rows: usize) -> Result<TensorView<'_>, KernelError> {
        expect_at_most("rows", num_rows, self.shape[0])?;
        let num_bytes = num_rows * self.shape[1] * self.dtype.size_bytes();
        let bytes = match &self.storage {
            Storage::Host(buffer) => ViewBytes::Host(&buffer.as_slice()[..num_bytes]),
            #[cfg(feature = "cuda")]
            Storage::Cuda(tensor) => ViewBytes::Cuda(tensor.view(num_bytes)),
        };
        Ok(TensorView { bytes, dtype: self.dtype, shape: [num_rows, self.shape[1]] })
    }

    /// The first `num_rows` rows, for writing: `[num_rows, columns]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::OverLimit`] if there are fewer.
    pub fn rows_mut(&mut self, num_rows: usize) -> Result<TensorViewMut<'_>, KernelError> {
        expect_at_most("rows", num_rows, self.shape[0])?;
        let num_bytes = num_rows * self.shape[1] * self.dtype.size_bytes();
        let bytes = match &mut self.storage {
            Storage::Host(buffer) => ViewBytesMut::Host(&mut buffer.as_mut_slice()[..num_bytes]),
            #[cfg(feature = "cuda")]
            Storage::Cuda(tensor) => ViewBytesMut::Cuda(tensor.view_mut(num_bytes)),
        };
        Ok(TensorViewMut { bytes, dtype: self.dtype, shape: [num_rows, self.shape[1]] })
    }
}

impl<'a> TensorView<'a> {
    /// `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements, if they are f32 in host memory: `[rows * columns]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::ElementType`] under the argument's `name` otherwise.
    pub fn as_f32(&self, name: &'static str) -> Result<&'a [f32], KernelError> {
        expect_f32(name, self.dtype)?;
        match self.bytes {
            ViewBytes::Host(bytes) => Ok(buffer::cast(bytes)),
            #[cfg(feature = "cuda")]
            ViewBytes::Cuda(_) => Err(KernelError::OtherDevice { name }),
        }
    }

    /// The elements, if they are of type `T` in device memory: `[rows * columns]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn as_device<T: DeviceElement>(
        &self,
        name: &'static str,
    ) -> Result<DeviceSlice<'a, T>, KernelError> {
        expect_element::<T>(name, self.dtype)?;
        match self.bytes {
            ViewBytes::Host(_) => Err(KernelError::OtherDevice { name }),
            ViewBytes::Cuda(cuda) => {
                Ok(cuda.bytes().cast().expect("a tensor holds whole elements at an aligned address"))
            }
        }
    }

    /// Where the elements lie on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn device_address(&self) -> Option<u64> {
        match self.bytes {
            ViewBytes::Host(_) => None,
            ViewBytes::Cuda(cuda) => Some(cuda.bytes().pointer()),
        }
    }

    /// The elements, which must be f32, in host memory: `[rows * columns]`. Those of a GPU are copied to the front of
    /// `copy`, which holds at least as many; this waits for the GPU.
    ///
    /// # Errors
    ///
    /// [`KernelError::ElementType`] for another type, [`KernelError::ByteLength`] if `copy` is too short.
    pub fn f32_on_host<'b>(&self, name: &'static str, copy: &'b mut [f32]) -> Result<&'b [f32], KernelError>
    where
        'a: 'b,
    {
        #[cfg(not(feature = "cuda"))]
        let _ = copy;
        match self.bytes {
            ViewBytes::Host(_) => self.as_f32(name),
            #[cfg(feature = "cuda")]
            ViewBytes::Cuda(_) => {
                expect_f32(name, self.dtype)?;
                let expected = self.shape[0] * self.shape[1];
                let actual_bytes = size_of_val(copy);
                let Some(copy) = copy.get_mut(..expected) else {
                    return Err(KernelError::ByteLength { name, actual_bytes, expected_bytes: expected * 4 });
                };
                self.read_f32(copy)?;
                Ok(copy)
            }
        }
    }

    /// Copies the elements to host memory as f32: `[rows * columns]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::ByteLength`] if `values` has not exactly that many.
    pub fn read_f32(&self, values: &mut [f32]) -> Result<(), KernelError> {
        let expected = self.shape[0] * self.shape[1];
        if values.len() != expected {
            return Err(KernelError::ByteLength {
                name: "values",
                actual_bytes: values.len() * 4,
                expected_bytes: expected * 4,
            });
        }
        match self.bytes {
            ViewBytes::Host(bytes) => decode(self.dtype, bytes, values),
            #[cfg(feature = "cuda")]
            ViewBytes::Cuda(cuda) if self.dtype == DType::F32 => cuda.read(buffer::bytes_mut(values))?,
            #[cfg(feature = "cuda")]
            ViewBytes::Cuda(cuda) => {
                let mut staged = HostBuffer::zeroed(values.len() * self.dtype.size_bytes())?;
                cuda.read(staged.as_mut_slice())?;
                decode(self.dtype, staged.as_slice(), values);
            }
        }
        Ok(())
    }
}

impl TensorViewMut<'_> {
    /// `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The same matrix, borrowed anew and for a shorter time.
    pub fn reborrow(&mut self) -> TensorViewMut<'_> {
        let bytes = match &mut self.bytes {
            ViewBytesMut::Host(bytes) => ViewBytesMut::Host(bytes),
            #[cfg(feature = "cuda")]
            ViewBytesMut::Cuda(cuda) => ViewBytesMut::Cuda(cuda.reborrow()),
        };
        TensorViewMut { bytes, dtype: self.dtype, shape: self.shape }
    }

    /// The same matrix, for reading.
    pub fn as_view(&self) -> TensorView<'_> {
        let bytes = match &self.bytes {
            ViewBytesMut::Host(bytes) => ViewBytes::Host(bytes),
            #[cfg(feature = "cuda")]
            ViewBytesMut::Cuda(cuda) => ViewBytes::Cuda(cuda.as_view()),
        };
        TensorView { bytes, dtype: self.dtype, shape: self.shape }
    }

    /// The elements, if they are f32 in host memory: `[rows * columns]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::ElementType`] under the argument's `name` otherwise.
    pub fn as_f32_mut(&mut self, name: &'static str) -> Result<&mut [f32], KernelError> {
        expect_f32(name, self.dtype)?;
        match &mut self.bytes {
            ViewBytesMut::Host(bytes) => Ok(buffer::cast_mut(bytes)),
            #[cfg(feature = "cuda")]
            ViewBytesMut::Cuda(_) => Err(KernelError::OtherDevice { name }),
        }
    }

    /// The elements, if they are of type `T` in device memory: `[rows * columns]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn as_device_mut<T: DeviceElement>(
        &mut self,
        name: &'static str,
    ) -> Result<DeviceSliceMut<'_, T>, KernelError> {
        expect_element::<T>(name, self.dtype)?;
        match &mut self.bytes {
            ViewBytesMut::Host(_) => Err(KernelError::OtherDevice { name }),
            ViewBytesMut::Cuda(cuda) => {
                Ok(cuda.bytes().cast().expect("a tensor holds whole elements at an aligned address"))
            }
        }
    }
}

fn expect_f32(name: &'static str, actual: DType) -> Result<(), KernelError> {
    if actual == DType::F32 {
        Ok(())
    } else {
        Err(KernelError::ElementType { name, actual, expected: DType::F32 })
    }
}

/// Refuses elements of another type than `T`.
#[cfg(feature = "cuda")]
fn expect_element<T: DeviceElement>(name: &'static str, actual: DType) -> Result<(), KernelError> {
    match T::DTYPE {
        Some(expected) if expected == actual => Ok(()),
        Some(expected) => Err(KernelError::ElementType { name, actual, expected }),
        None => Err(KernelError::Invalid { name, value: size_of::<T>(), rule: "hold floats" }),
    }
}

fn encode(dtype: DType, values: &[f32], buffer: &mut HostBuffer) {
    match dtype {
        DType::F32 => buffer.as_mut_slice::<f32>().copy_from_slice(values),
        DType::F16 => {
            for (bits, &value) in buffer.as_mut_slice::<u16>().iter_mut().zip(values) {
                *bits = f16::from_f32(value).to_bits();
            }
        }
        DType::BF16 => {
            for (bits, &value) in buffer.as_mut_slice::<u16>().iter_mut().zip(values) {
                *bits = bf16::from_f32(value).to_bits();
            }
        }
        DType::E4M3 => {
            for (bits, &value) in buffer.as_mut_slice::<u8>().iter_mut().zip(values) {
                *bits = E4m3::from_f32(value).0;
            }
        }
    }
}

fn decode(dtype: DType, bytes: &[u8], values: &mut [f32]) {
    match dtype {
        DType::F32 => values.copy_from_slice(buffer::cast(bytes)),
        DType::F16 => {
            for (value, &bits) in values.iter_mut().zip(buffer::cast::<u16>(bytes)) {
                *value = f16::from_bits(bits).to_f32();
            }
        }
        DType::BF16 => {
            for (value, &bits) in values.iter_mut().zip(buffer::cast::<u16>(bytes)) {
                *value = bf16::from_bits(bits).to_f32();
            }
        }
        DType::E4M3 => {
            for (value, &bits) in values.iter_mut().zip(bytes) {
                *value = E4m3(bits).to_f32();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuOptions;

    #[test]
    fn keeps_values_of_every_type_and_refuses_rows_it_does_not_have() {
        let device = Device::cpu(&CpuOptions::default()).expect("device starts");
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::E4M3] {
            let values = [1.0, -2.0, 0.5, 4.0, -0.25, 8.0];
            let tensor = Tensor::from_f32(&device, dtype, [3, 2], &values).expect("shape fits");
            let mut read = [0.0; 4];
            tensor.rows(2).expect("has two rows").read_f32(&mut read).expect("length fits");
            assert_eq!(read.map(f32::to_bits).as_slice(), values.map(f32::to_bits).split_at(4).0);
            let error = tensor.rows(4).expect_err("has three rows");
            assert_eq!(error.to_string(), "`rows` is 4, limit 3");
        }
        assert!(Tensor::from_f32(&device, DType::F32, [2, 2], &[0.0; 3]).is_err());
    }
}

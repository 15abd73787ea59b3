//! Typed pieces of device memory: an owned buffer, and borrowed slices of one.
//!
//! The host never reads through them; [`super::CudaDevice`] copies in both directions. The borrow
//! checker keeps an output from overlapping an input, as it does on the host.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use half::{bf16, f16};

use super::arena::ArenaMemory;
use crate::e4m3::E4m3;
use crate::tensor::DType;

mod sealed {
    pub trait Sealed {}
}

/// A type that kernels read and write. Every bit pattern of it is a value.
pub trait DeviceElement: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The tensor type whose elements these are, if any.
    const DTYPE: Option<DType>;
}

macro_rules! device_elements {
    // One line for each type.
    ($($element:ty => $dtype:expr),* $(,)?) => { $(
        impl sealed::Sealed for $element {}
        impl DeviceElement for $element {
            const DTYPE: Option<DType> = $dtype;
        }
    )* };
}
device_elements!(
    u8 => None,
    i8 => None,
    u16 => None,
    u32 => None,
    i32 => None,
    u64 => None,
    f32 => Some(DType::F32),
    f16 => Some(DType::F16),
    bf16 => Some(DType::BF16),
    E4m3 => Some(DType::E4M3),
);

/// An owned, typed range of the arena.
#[derive(Debug)]
pub struct DeviceBuffer<T: DeviceElement> {
    pub(super) memory: Arc<ArenaMemory>,
    pub(super) pointer: CUdeviceptr,
    pub(super) len: usize,
    pub(super) element: PhantomData<T>,
}

impl<T: DeviceElement> DeviceBuffer<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole, for reading.
    pub fn as_slice(&self) -> DeviceSlice<'_, T> {
        DeviceSlice { pointer: self.pointer, len: self.len, buffer: PhantomData }
    }

    /// The whole, for writing.
    pub fn as_mut_slice(&mut self) -> DeviceSliceMut<'_, T> {
        DeviceSliceMut { pointer: self.pointer, len: self.len, buffer: PhantomData }
    }
}

impl<T: DeviceElement> Drop for DeviceBuffer<T> {
    fn drop(&mut self) {
        self.memory.give_back(self.pointer, self.len * size_of::<T>());
    }
}

/// A part of a buffer, for reading.
#[derive(Debug, Clone, Copy)]
pub struct DeviceSlice<'a, T: DeviceElement> {
    pointer: CUdeviceptr,
    len: usize,
    buffer: PhantomData<&'a T>,
}

impl<'a, T: DeviceElement> DeviceSlice<'a, T> {
    /// Elements.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Where it begins on the device.
    pub(crate) fn pointer(self) -> CUdeviceptr {
        self.pointer
    }

    /// A part of it.
    ///
    /// # Panics
    ///
    /// If the range is not inside.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> DeviceSlice<'a, T> {
        check_range(&range, self.len);
        DeviceSlice {
            pointer: self.pointer + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            buffer: PhantomData,
        }
    }

    /// The same bytes as elements of another type. `None` if they do not divide, or would lie
    /// across the new type's alignment.
    pub fn cast<U: DeviceElement>(self) -> Option<DeviceSlice<'a, U>> {
        let len = cast_len::<T, U>(self.pointer, self.len)?;
        Some(DeviceSlice { pointer: self.pointer, len, buffer: PhantomData })
    }
}

/// A part of a buffer, for writing.
#[derive(Debug)]
pub struct DeviceSliceMut<'a, T: DeviceElement> {
    pointer: CUdeviceptr,
    len: usize,
    buffer: PhantomData<&'a mut T>,
}

impl<'a, T: DeviceElement> DeviceSliceMut<'a, T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins on the device.
    pub(crate) fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    /// The same part, for reading.
    pub fn as_slice(&self) -> DeviceSlice<'_, T> {
        DeviceSlice { pointer: self.pointer, len: self.len, buffer: PhantomData }
    }

    /// The same part, borrowed for less long.
    pub fn reborrow(&mut self) -> DeviceSliceMut<'_, T> {
        DeviceSliceMut { pointer: self.pointer, len: self.len, buffer: PhantomData }
    }

    /// A part of it.
    ///
    /// # Panics
    ///
    /// If the range is not inside.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> DeviceSliceMut<'a, T> {
        check_range(&range, self.len);
        DeviceSliceMut {
            pointer: self.pointer + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            buffer: PhantomData,
        }
    }

    /// Two parts that do not overlap.
    ///
    /// # Panics
    ///
    /// If `mid` is beyond the end.
    pub fn split_at(self, mid: usize) -> (DeviceSliceMut<'a, T>, DeviceSliceMut<'a, T>) {
        check_range(&(mid..self.len), self.len);
        let second = self.pointer + (mid * size_of::<T>()) as u64;
        (
            DeviceSliceMut { pointer: self.pointer, len: mid, buffer: PhantomData },
            DeviceSliceMut { pointer: second, len: self.len - mid, buffer: PhantomData },
        )
    }

    /// The same bytes as elements of another type. `None` if they do not divide, or would lie
    /// across the new type's alignment.
    pub fn cast<U: DeviceElement>(self) -> Option<DeviceSliceMut<'a, U>> {
        let len = cast_len::<T, U>(self.pointer, self.len)?;
        Some(DeviceSliceMut { pointer: self.pointer, len, buffer: PhantomData })
    }
}

fn check_range(range: &Range<usize>, len: usize) {
    assert!(
        range.start <= range.end && range.end <= len,
        "elements {}..{} are not inside a device buffer of {len}",
        range.start,
        range.end
    );
}

fn cast_len<T, U>(pointer: CUdeviceptr, len: usize) -> Option<usize> {
    let bytes = len * size_of::<T>();
    let fits = bytes.is_multiple_of(size_of::<U>()) && pointer.is_multiple_of(align_of::<U>() as u64);
    fits.then_some(bytes / size_of::<U>())
}

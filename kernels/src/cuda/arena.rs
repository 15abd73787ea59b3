//! One device allocation, made at start, from which every buffer is cut.
//!
//! Weights, the KV cache, activations and workspaces live in it, so that nothing asks the driver
//! for memory later: a step cannot run out, addresses never change, and graphs can keep them.
//!
//! # Invariants
//!
//! - Every buffer begins at a multiple of [`ALIGNMENT_BYTES`] and overlaps no other.
//! - Free pieces are kept by offset and never touch: neighbours are merged when one is given back.
//! - The memory outlives every buffer: each holds the arena.
//! - A range given back may be lent again at once, since all work runs on one stream, in order.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaStream, result};

use super::buffer::{DeviceBuffer, DeviceElement};
use super::error::{Context, CudaError};

/// Where buffers begin: a multiple of this, the unit in which warps read memory twice over.
pub const ALIGNMENT_BYTES: usize = 256;

/// Left to the driver: contexts grow when graphs and modules are loaded.
pub(crate) const DRIVER_RESERVE_BYTES: usize = 768 << 20;

/// How much of a device's memory to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ArenaSize {
    /// Exactly this.
    Bytes(usize),
    /// This part of what is free now, between 0 and 1.
    FractionOfFree(f32),
}

impl ArenaSize {
    /// The bytes that it comes to on a device with `free_bytes` free, of which the driver keeps its reserve.
    pub fn of_free(self, free_bytes: usize) -> usize {
        match self {
            Self::Bytes(bytes) => round_up(bytes),
            Self::FractionOfFree(part) => {
                round_down((fitting(free_bytes) as f64 * f64::from(part.clamp(0.0, 1.0))) as usize)
            }
        }
    }
}

/// The largest arena that leaves the driver its reserve.
fn fitting(free_bytes: usize) -> usize {
    round_down(free_bytes.saturating_sub(DRIVER_RESERVE_BYTES))
}

/// The one allocation. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Arena {
    memory: Arc<ArenaMemory>,
}

/// The device memory and the books over it.
#[derive(Debug)]
pub(super) struct ArenaMemory {
    stream: Arc<CudaStream>,
    base: CUdeviceptr,
    books: Mutex<Books>,
}

/// Which ranges are free. Pure bookkeeping, so that it is tested without a device.
#[derive(Debug)]
struct Books {
    capacity: usize,
    /// Offset to length.
    free: BTreeMap<usize, usize>,
}

impl Arena {
    /// Takes the memory from the device behind `stream`.
    ///
    /// # Errors
    ///
    /// [`CudaError::OutOfDeviceMemory`] with the size that would fit.
    pub(super) fn new(stream: &Arc<CudaStream>, size: ArenaSize) -> Result<Self, CudaError> {
        stream.context().bind_to_thread().context("cuCtxSetCurrent")?;
        let (free_bytes, total_bytes) = result::mem_get_info().context("cuMemGetInfo")?;
        let fitting_bytes = fitting(free_bytes);
        let wanted_bytes = size.of_free(free_bytes);
        let refused = CudaError::OutOfDeviceMemory { wanted_bytes, free_bytes, total_bytes, fitting_bytes };
        if wanted_bytes == 0 || wanted_bytes > fitting_bytes {
            return Err(refused);
        }
        // SAFETY: the context is bound; the result is freed once, in `ArenaMemory::drop`.
        let Ok(base) = (unsafe { result::malloc_sync(wanted_bytes) }) else { return Err(refused) };
        let books = Mutex::new(Books::new(wanted_bytes));
        Ok(Self { memory: Arc::new(ArenaMemory { stream: Arc::clone(stream), base, books }) })
    }

    /// Cuts a buffer of `len` elements. Its content is whatever was there.
    ///
    /// # Errors
    ///
    /// [`CudaError::ArenaFull`] naming `what`.
    pub(crate) fn alloc<T: DeviceElement>(
        &self,
        what: &str,
        len: usize,
    ) -> Result<DeviceBuffer<T>, CudaError> {
        let full = |wanted_bytes, books: &Books| CudaError::ArenaFull {
            what: what.to_owned(),
            wanted_bytes,
            capacity_bytes: books.capacity,
            free_bytes: books.free_bytes(),
            largest_free_bytes: books.largest_free_bytes(),
        };
        let mut books = self.memory.books();
        let Some(bytes) = len.checked_mul(size_of::<T>()) else {
            return Err(full(usize::MAX, &books));
        };
        let Some(offset) = books.take(bytes) else { return Err(full(bytes, &books)) };
        drop(books);
        Ok(DeviceBuffer {
            memory: Arc::clone(&self.memory),
            pointer: self.memory.base + offset as u64,
            len,
            element: PhantomData,
        })
    }

    /// Bytes not lent, and the whole.
    pub(crate) fn usage(&self) -> ArenaUsage {
        let books = self.memory.books();
        ArenaUsage { free_bytes: books.free_bytes(), capacity_bytes: books.capacity }
    }
}

/// How full an arena is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaUsage {
    /// Not lent.
    pub free_bytes: usize,
    /// The whole.
    pub capacity_bytes: usize,
}

impl ArenaMemory {
    /// Takes back what `alloc` lent.
    pub(super) fn give_back(&self, pointer: CUdeviceptr, bytes: usize) {
        self.books().give_back((pointer - self.base) as usize, bytes);
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        // The books are changed by single map operations, so a panic elsewhere leaves them whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ArenaMemory {
    fn drop(&mut self) {
        let context = self.stream.context();
        context.record_err(self.stream.synchronize());
        context.record_err(context.bind_to_thread());
        // SAFETY: `base` came from `malloc_sync`, is freed only here, no buffer is left (each holds
        // this struct), and the stream on which they were used has just finished.
        context.record_err(unsafe { result::free_sync(self.base) });
    }
}

impl Books {
    fn new(capacity: usize) -> Self {
        Self { capacity, free: BTreeMap::from([(0, capacity)]) }
    }

    fn free_bytes(&self) -> usize {
        self.free.values().sum()
    }

    fn largest_free_bytes(&self) -> usize {
        self.free.values().copied().max().unwrap_or(0)
    }

    /// The first piece that is large enough. A buffer of no bytes takes one unit, so that every
    /// buffer has an address of its own.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let wanted = round_up(bytes.max(1));
        let (&offset, &length) = self.free.iter().find(|&(_, &length)| length >= wanted)?;
        self.free.remove(&offset);
        if length > wanted {
            self.free.insert(offset + wanted, length - wanted);
        }
        Some(offset)
    }

    fn give_back(&mut self, offset: usize, bytes: usize) {
        let mut start = offset;
        let mut length = round_up(bytes.max(1));
        if let Some(after) = self.free.remove(&(start + length)) {
            length += after;
        }
        if let Some((&before, &before_length)) = self.free.range(..start).next_back() {
            debug_assert!(before + before_length <= start, "a range was given back twice");
            if before + before_length == start {
                self.free.remove(&before);
                start = before;
                length += before_length;
            }
        }
        self.free.insert(start, length);
    }
}

fn round_up(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(ALIGNMENT_BYTES).unwrap_or(round_down(usize::MAX))
}

fn round_down(bytes: usize) -> usize {
    bytes / ALIGNMENT_BYTES * ALIGNMENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_and_do_not_overlap() {
        let mut books = Books::new(4096);
        let first = books.take(1).expect("room");
        let second = books.take(257).expect("room");
        let third = books.take(0).expect("room");
        assert_eq!([first, second, third], [0, 256, 768]);
        assert_eq!(books.free_bytes(), 4096 - 1024);
    }

    #[test]
    fn neighbours_merge_whatever_the_order_they_return_in() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut books = Books::new(1024 * 3);
            let offsets = [1024; 3].map(|bytes| books.take(bytes).expect("room"));
            assert_eq!(books.take(1), None);
            for index in order {
                books.give_back(offsets[index], 1024);
            }
            assert_eq!(books.free, BTreeMap::from([(0, 3072)]), "order {order:?}");
        }
    }

    #[test]
    fn a_request_beyond_the_largest_piece_fails() {
        let mut books = Books::new(1024);
        let first = books.take(256).expect("room");
        books.take(256).expect("room");
        books.give_back(first, 256);
        assert_eq!(books.free_bytes(), 768);
        assert_eq!(books.take(768), None);
        assert_eq!(books.take(512), Some(512));
        assert_eq!(books.take(usize::MAX), None);
    }
}

//! Zeroed, aligned host memory, on huge pages where it is big.
//!
//! Small buffers come from the allocator at 64-byte alignment, so that no vector load crosses a cache
//! line. Buffers of 2 MiB and more are mapped directly and advised to use huge pages: reading weights
//! is bound by memory, and small pages cost up to a third of it. Mapped pages are made when they are
//! first written, so a KV cache costs memory only where it is used.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::error::KernelError;

/// Alignment of every buffer: a cache line, and the widest vector.
const ALIGNMENT_BYTES: usize = 64;
/// Size and alignment of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A type that any bytes are a value of and that may be zeroed.
///
/// # Safety
///
/// Every bit pattern must be a value, there must be no padding, and the alignment must divide 64.
pub(crate) unsafe trait Element: Copy {}
// SAFETY: plain numbers of at most four bytes, of which every bit pattern is a value.
unsafe impl Element for f32 {}
// SAFETY: as above.
unsafe impl Element for u32 {}
// SAFETY: as above.
unsafe impl Element for i32 {}
// SAFETY: as above.
unsafe impl Element for u16 {}
// SAFETY: as above.
unsafe impl Element for u8 {}
// SAFETY: as above.
unsafe impl Element for i8 {}
// SAFETY: a transparent wrapper of u16.
unsafe impl Element for half::f16 {}
// SAFETY: as above.
unsafe impl Element for half::bf16 {}

/// Owned, zeroed at first, aligned host memory.
#[derive(Debug)]
pub(crate) struct HostBuffer {
    pointer: NonNull<u8>,
    len_bytes: usize,
    origin: Origin,
}

/// Where a buffer's memory came from, to give it back.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Nothing,
    Allocator(Layout),
    Mapping { base: NonNull<u8>, mapped_bytes: usize },
}

// SAFETY: a buffer owns its memory alone, and its access rules are those of `Vec<u8>`.
unsafe impl Send for HostBuffer {}
// SAFETY: as above; `&HostBuffer` only reads.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// `len_bytes` zero bytes.
    pub(crate) fn zeroed(len_bytes: usize) -> Result<Self, KernelError> {
        if len_bytes == 0 {
            let pointer = NonNull::without_provenance(
                std::num::NonZeroUsize::new(ALIGNMENT_BYTES).expect("alignment is not zero"),
            );
            return Ok(Self { pointer, len_bytes, origin: Origin::Nothing });
        }
        if len_bytes >= HUGE_PAGE_BYTES {
            return Self::mapped(len_bytes);
        }
        let out_of_memory = || KernelError::OutOfMemory { bytes: len_bytes };
        let layout = Layout::from_size_align(len_bytes, ALIGNMENT_BYTES).map_err(|_| out_of_memory())?;
        // SAFETY: the layout's size is not zero (checked above).
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        Ok(Self { pointer, len_bytes, origin: Origin::Allocator(layout) })
    }

    /// A mapping of whole huge pages; the kernel gives zeroed pages on first touch.
    fn mapped(len_bytes: usize) -> Result<Self, KernelError> {
        let out_of_memory = || KernelError::OutOfMemory { bytes: len_bytes };
        let rounded_bytes = len_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES).ok_or_else(out_of_memory)?;
        let mapped_bytes = rounded_bytes.checked_add(HUGE_PAGE_BYTES).ok_or_else(out_of_memory)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory
        // of ours; the result is checked below.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(out_of_memory());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(out_of_memory)?;
        let skipped_bytes = base.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: less than one huge page is skipped, and the mapping is one longer than needed.
        let pointer = unsafe { base.add(skipped_bytes) };
        // SAFETY: the range lies inside the mapping made above. Advice that is refused changes
        // nothing, so the result needs no look.
        unsafe { libc::madvise(pointer.as_ptr().cast(), rounded_bytes, libc::MADV_HUGEPAGE) };
        Ok(Self { pointer, len_bytes, origin: Origin::Mapping { base, mapped_bytes } })
    }

    /// The bytes, as elements; a rest shorter than an element is left out.
    pub(crate) fn as_slice<T: Element>(&self) -> &[T] {
        // SAFETY: the memory is initialised (zeroed or written), lives as long as `self`, is aligned
        // to 64 bytes, which T's alignment divides, and every bit pattern is a T.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr().cast(), self.len_bytes / size_of::<T>()) }
    }

    /// The bytes, as elements to be written.
    pub(crate) fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the borrow the only one.
        unsafe {
            std::slice::from_raw_parts_mut(self.pointer.as_ptr().cast(), self.len_bytes / size_of::<T>())
        }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        match self.origin {
            Origin::Nothing => {}
            // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
            Origin::Allocator(layout) => unsafe { dealloc(self.pointer.as_ptr(), layout) },
            Origin::Mapping { base, mapped_bytes } => {
                // SAFETY: mapped in `mapped` with this base and length, and unmapped only here.
                unsafe { libc::munmap(base.as_ptr().cast(), mapped_bytes) };
            }
        }
    }
}

/// Bytes of a buffer as elements.
///
/// # Panics
///
/// If the bytes are not aligned for `T`: they must come from a [`HostBuffer`].
pub(crate) fn cast<T: Element>(bytes: &[u8]) -> &[T] {
    // SAFETY: every bit pattern is a T (trait contract); `align_to` keeps to aligned, whole elements.
    let (before, elements, _) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty(), "bytes of a tensor are aligned");
    elements
}

/// Bytes of a buffer as elements to be written.
///
/// # Panics
///
/// As [`cast`].
pub(crate) fn cast_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: as in `cast`; any T written is valid as bytes, for T has no padding.
    let (before, elements, _) = unsafe { bytes.align_to_mut::<T>() };
    assert!(before.is_empty(), "bytes of a tensor are aligned");
    elements
}

/// The bytes of numbers.
#[cfg(feature = "cuda")]
pub(crate) fn bytes_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    let num_bytes = size_of_val(elements);
    // SAFETY: the range is the slice's own, T has no padding, and any bytes are a T.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), num_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_aligned_and_writable_at_every_size() {
        for len_bytes in [0, 1, 63, 64, 4096, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES + 5] {
            let mut buffer = HostBuffer::zeroed(len_bytes).expect("memory is there");
            assert_eq!(buffer.as_slice::<u8>().as_ptr().addr() % ALIGNMENT_BYTES, 0);
            assert!(buffer.as_slice::<u8>().iter().all(|&byte| byte == 0));
            buffer.as_mut_slice::<u8>().fill(7);
            assert_eq!(buffer.as_slice::<u8>(), vec![7; len_bytes]);
        }
        assert!(matches!(HostBuffer::zeroed(usize::MAX), Err(KernelError::OutOfMemory { .. })));
    }
}

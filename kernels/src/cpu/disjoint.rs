//! A slice that several threads write at once, each in its own parts.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice lent to many units, of which no two touch the same element.
pub(super) struct Disjoint<'a, T> {
    pointer: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `part`, whose caller vouches that no two parts overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Lends `slice`.
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// One part.
    ///
    /// # Safety
    ///
    /// No other part that overlaps this one may be in use at the same time.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps the parts apart")]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part lies inside its slice");
        // SAFETY: the range was checked, the borrow outlives `self`, and the caller vouches that this
        // is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }
}

//! Numbers as the KV cache stores them.

use half::{bf16, f16};

use crate::tensor::buffer::Element;

use super::simd::{LANES, Simd};

/// A type of stored keys and values, read and written sixteen at a time as f32.
pub(crate) trait CacheElement: Element + Send + Sync {
    /// Zero.
    const ZERO: Self;

    /// Sixteen numbers, widened.
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::Floats;

    /// Writes sixteen numbers, rounded to nearest even.
    fn store<S: Simd>(simd: S, to: &mut [Self], value: S::Floats);
}

impl CacheElement for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::Floats {
        assert!(from.len() == LANES, "a vector is read whole");
        // SAFETY: the slice holds sixteen values.
        unsafe { simd.load(from.as_ptr()) }
    }

    #[inline(always)]
    fn store<S: Simd>(simd: S, to: &mut [Self], value: S::Floats) {
        assert!(to.len() == LANES, "a vector is written whole");
        // SAFETY: the slice has room for sixteen values.
        unsafe { simd.store(to.as_mut_ptr(), value) };
    }
}

impl CacheElement for f16 {
    const ZERO: Self = f16::ZERO;

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::Floats {
        assert!(from.len() == LANES, "a vector is read whole");
        // SAFETY: the slice holds sixteen values, which are their bits alone.
        unsafe { simd.load_f16(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store<S: Simd>(simd: S, to: &mut [Self], value: S::Floats) {
        assert!(to.len() == LANES, "a vector is written whole");
        // SAFETY: the slice has room for sixteen values, which are their bits alone.
        unsafe { simd.store_f16(to.as_mut_ptr().cast(), value) };
    }
}

impl CacheElement for bf16 {
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::Floats {
        assert!(from.len() == LANES, "a vector is read whole");
        // SAFETY: the slice holds sixteen values, which are their bits alone.
        unsafe { simd.load_bf16(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store<S: Simd>(simd: S, to: &mut [Self], value: S::Floats) {
        assert!(to.len() == LANES, "a vector is written whole");
        // SAFETY: the slice has room for sixteen values, which are their bits alone.
        unsafe { simd.store_bf16(to.as_mut_ptr().cast(), value) };
    }
}

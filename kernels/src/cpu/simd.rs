//! Vectors of sixteen lanes, the same on every instruction set.
//!
//! A kernel is written once over [`Simd`]. A value of an implementing type is the proof that the
//! processor has the instructions, so most methods are safe; those that touch memory are not.
//!
//! # Invariants
//!
//! - Every method but [`Simd::dot_pairs`] gives the same bits on every instruction set: products are
//!   fused, conversions round to nearest even, reductions add lane `i` to `i + 8`, then 4, 2, 1.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use exp::{exp, soft_cap};
pub(super) use portable::Portable;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Operations on vectors of sixteen lanes.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen f32.
    type Floats: Copy;
    /// Sixteen i32.
    type Ints: Copy;
    /// Sixty-four bytes, or thirty-two bf16.
    type Bytes: Copy;

    /// Whether there are registers for products of eight rows at once, or only of four.
    const TALL_TILES: bool;

    /// Asks for the cache line at `from`, which may be any address.
    fn prefetch(self, from: *const u8);

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::Floats;
    /// `value` in every lane.
    fn splat_int(self, value: i32) -> Self::Ints;

    /// Sixteen f32 at `from`.
    ///
    /// # Safety
    ///
    /// `from..from + 16` must be readable.
    unsafe fn load(self, from: *const f32) -> Self::Floats;
    /// Sixteen f16 at `from`, widened.
    ///
    /// # Safety
    ///
    /// `from..from + 16` must be readable.
    unsafe fn load_f16(self, from: *const u16) -> Self::Floats;
    /// Sixteen bf16 at `from`, widened.
    ///
    /// # Safety
    ///
    /// `from..from + 16` must be readable.
    unsafe fn load_bf16(self, from: *const u16) -> Self::Floats;
    /// Sixteen i8 at `from`, as f32.
    ///
    /// # Safety
    ///
    /// `from..from + 16` must be readable.
    unsafe fn load_i8(self, from: *const i8) -> Self::Floats;
    /// Sixty-four bytes at `from`.
    ///
    /// # Safety
    ///
    /// `from..from + 64` must be readable.
    unsafe fn load_bytes(self, from: *const u8) -> Self::Bytes;
    /// Writes sixteen f32.
    ///
    /// # Safety
    ///
    /// `to..to + 16` must be writable.
    unsafe fn store(self, to: *mut f32, value: Self::Floats);
    /// Writes sixteen values rounded to f16.
    ///
    /// # Safety
    ///
    /// `to..to + 16` must be writable.
    unsafe fn store_f16(self, to: *mut u16, value: Self::Floats);
    /// Writes sixteen values rounded to bf16. The values must not be NaN.
    ///
    /// # Safety
    ///
    /// `to..to + 16` must be writable.
    unsafe fn store_bf16(self, to: *mut u16, value: Self::Floats);
    /// Writes the low bytes of sixteen integers that fit into them.
    ///
    /// # Safety
    ///
    /// `to..to + 16` must be writable.
    unsafe fn store_low_bytes(self, to: *mut i8, value: Self::Ints);

    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a - b`.
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b`.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a / b`.
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a > b ? a : b`.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a < b ? a : b`.
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Lanes below `count` of `a`, the rest of `b`.
    fn first(self, count: usize, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The nearest integers, ties to even.
    fn round(self, a: Self::Floats) -> Self::Ints;
    /// Integers as floats.
    fn to_floats(self, a: Self::Ints) -> Self::Floats;
    /// `2^a` for `a` in -126..=127.
    fn pow2(self, a: Self::Ints) -> Self::Floats;
    /// The sum of all lanes.
    fn sum(self, a: Self::Floats) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::Floats) -> f32;
    /// The sum of all lanes.
    fn sum_int(self, a: Self::Ints) -> i32;
    /// Rows become columns.
    fn transpose(self, rows: [Self::Floats; LANES]) -> [Self::Floats; LANES];

    /// Every byte shifted right by `right` bits, left if negative, and then cut by `mask`, which must
    /// leave out the bits that a shift can bring in from a neighbouring byte.
    fn bit_field(self, a: Self::Bytes, right: i32, mask: u8) -> Self::Bytes;
    /// The bits of both.
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Adds to lane `i` the products of bytes `4i..4i + 4` of `weights`, each below 128, with the four
    /// signed bytes of `inputs`, each above -128.
    fn dot_codes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints;
    /// As [`Self::dot_codes`], with any unsigned bytes in `weights`.
    fn dot_bytes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints;
    /// Adds to lane `i` the products of bf16 `2i` and `2i + 1` of `weights` with the two of `inputs`.
    fn dot_pairs(self, sum: Self::Floats, weights: Self::Bytes, inputs: u32) -> Self::Floats;
}

#[cfg(test)]
mod tests;

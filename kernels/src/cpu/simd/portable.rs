//! Sixteen lanes as arrays, for every target; the compiler vectorises what it can.

use std::array::from_fn;

use half::{bf16, f16};

use super::{LANES, Simd};

/// No instruction set in particular.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Portable;

impl Portable {
    #[inline(always)]
    fn fold<T: Copy>(mut lanes: [T; LANES], combine: impl Fn(T, T) -> T) -> T {
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] = combine(lanes[lane], lanes[lane + half]);
            }
        }
        lanes[0]
    }
}

impl Simd for Portable {
    type Floats = [f32; LANES];
    type Ints = [i32; LANES];
    type Bytes = [u8; 64];

    const TALL_TILES: bool = false;

    #[inline(always)]
    fn prefetch(self, _from: *const u8) {
        // No portable instruction for it; it is only a hint.
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        [value; LANES]
    }
    #[inline(always)]
    fn splat_int(self, value: i32) -> Self::Ints {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Floats {
        // SAFETY: the caller vouches for sixteen values; the read needs no alignment.
        unsafe { from.cast::<Self::Floats>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::Floats {
        // SAFETY: as in `load`.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::Floats {
        // SAFETY: as in `load`.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::Floats {
        // SAFETY: as in `load`.
        let numbers = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        numbers.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> Self::Bytes {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { from.cast::<Self::Bytes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::Floats) {
        // SAFETY: the caller vouches for room for sixteen values; the write needs no alignment.
        unsafe { to.cast::<Self::Floats>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16, value: Self::Floats) {
        let bits = value.map(|value| f16::from_f32(value).to_bits());
        // SAFETY: as in `store`.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(bits) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, value: Self::Floats) {
        let bits = value.map(|value| bf16::from_f32(value).to_bits());
        // SAFETY: as in `store`.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(bits) }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut i8, value: Self::Ints) {
        // SAFETY: as in `store`.
        unsafe { to.cast::<[i8; LANES]>().write_unaligned(value.map(|value| value as i8)) }
    }
    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| a[lane] / b[lane])
    }
    #[inline(always)]
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn first(self, count: usize, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        from_fn(|lane| if lane < count { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn round(self, a: Self::Floats) -> Self::Ints {
        a.map(|value| value.round_ties_even() as i32)
    }
    #[inline(always)]
    fn to_floats(self, a: Self::Ints) -> Self::Floats {
        a.map(|value| value as f32)
    }
    #[inline(always)]
    fn pow2(self, a: Self::Ints) -> Self::Floats {
        a.map(|value| f32::from_bits(((value + 127) as u32) << 23))
    }
    #[inline(always)]
    fn sum(self, a: Self::Floats) -> f32 {
        Self::fold(a, |left, right| left + right)
    }
    #[inline(always)]
    fn largest(self, a: Self::Floats) -> f32 {
        Self::fold(a, |left, right| if left > right { left } else { right })
    }
    #[inline(always)]
    fn sum_int(self, a: Self::Ints) -> i32 {
        Self::fold(a, |left, right| left + right)
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::Floats; LANES]) -> [Self::Floats; LANES] {
        from_fn(|column| from_fn(|row| rows[row][column]))
    }
    #[inline(always)]
    fn bit_field(self, a: Self::Bytes, right: i32, mask: u8) -> Self::Bytes {
        a.map(|byte| (if right < 0 { byte << -right } else { byte >> right }) & mask)
    }
    #[inline(always)]
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        from_fn(|byte| a[byte] | b[byte])
    }
    #[inline(always)]
    fn dot_codes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        self.dot_bytes(sum, weights, inputs)
    }
    #[inline(always)]
    fn dot_bytes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        let inputs = inputs.to_le_bytes().map(|byte| i32::from(byte as i8));
        from_fn(|lane| {
            let products = (0..4).map(|byte| i32::from(weights[4 * lane + byte]) * inputs[byte]);
            sum[lane] + products.sum::<i32>()
        })
    }
    #[inline(always)]
    fn dot_pairs(self, sum: Self::Floats, weights: Self::Bytes, inputs: u32) -> Self::Floats {
        let [low, high] = [inputs << 16, inputs & 0xffff_0000].map(f32::from_bits);
        from_fn(|lane| {
            let pair = u32::from_le_bytes(from_fn(|byte| weights[4 * lane + byte]));
            let sum = f32::from_bits(pair << 16).mul_add(low, sum[lane]);
            f32::from_bits(pair & 0xffff_0000).mul_add(high, sum)
        })
    }
}

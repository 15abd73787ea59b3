//! Sixteen lanes in one 512-bit register.

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "some forty intrinsics"))]
use std::arch::x86_64::*;
use std::mem::transmute;

use super::avx2::{largest_of_8, sum_of_8, sum_of_8_ints};
use super::{LANES, Simd};

/// AVX-512 F, BW, DQ, VL and VNNI, and the BF16 extension if `BF16`. A value is the proof that the
/// processor has them.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Avx512<const BF16: bool>(());

impl<const BF16: bool> Avx512<BF16> {
    /// The proof, if the processor has the instructions.
    pub(in super::super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        found.then_some(Self(()))
    }

    /// The proof of the family's own instructions alone.
    pub(in super::super) fn without_extension(self) -> Avx512<false> {
        let Self(proof) = self;
        Avx512(proof)
    }
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type Floats = __m512;
    type Ints = __m512i;
    type Bytes = __m512i;

    const TALL_TILES: bool = true;

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        // SAFETY: a hint, which takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn splat_int(self, value: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> Self::Bytes {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            _mm512_storeu_ps(to, value);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            let bits = _mm512_castps_si512(value);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)));
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut i8, value: Self::Ints) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(value));
        }
    }
    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn first(self, count: usize, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_mask_mov_ps(b, (((1_u32 << count.min(LANES)) - 1) & 0xffff) as u16, a) }
    }
    #[inline(always)]
    fn round(self, a: Self::Floats) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    fn to_floats(self, a: Self::Ints) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn pow2(self, a: Self::Ints) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(a, _mm512_set1_epi32(127)))) }
    }
    #[inline(always)]
    fn sum(self, a: Self::Floats) -> f32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            sum_of_8(half)
        }
    }
    #[inline(always)]
    fn largest(self, a: Self::Floats) -> f32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let half = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            largest_of_8(half)
        }
    }
    #[inline(always)]
    fn sum_int(self, a: Self::Ints) -> i32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let half = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti32x8_epi32::<1>(a));
            sum_of_8_ints(half)
        }
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::Floats; LANES]) -> [Self::Floats; LANES] {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { transpose_16(&rows) }
    }
    #[inline(always)]
    fn bit_field(self, a: Self::Bytes, right: i32, mask: u8) -> Self::Bytes {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            // Counts are constants where this becomes part of a loop that is unrolled.
            let shifted = match right {
                0 => a,
                1.. => _mm512_srl_epi16(a, _mm_cvtsi32_si128(right)),
                ..0 => _mm512_sll_epi16(a, _mm_cvtsi32_si128(-right)),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask.cast_signed()))
        }
    }
    #[inline(always)]
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn dot_codes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(inputs)) }
    }
    #[inline(always)]
    fn dot_bytes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(inputs)) }
    }
    #[inline(always)]
    fn dot_pairs(self, sum: Self::Floats, weights: Self::Bytes, inputs: u32) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let inputs = _mm512_set1_epi32(inputs.cast_signed());
            if BF16 {
                _mm512_dpbf16_ps(
                    sum,
                    transmute::<__m512i, __m512bh>(weights),
                    transmute::<__m512i, __m512bh>(inputs),
                )
            } else {
                let sum = _mm512_fmadd_ps(low_bf16(weights), low_bf16(inputs), sum);
                _mm512_fmadd_ps(high_bf16(weights), high_bf16(inputs), sum)
            }
        }
    }
}

/// Rows become columns: first within blocks of 4 x 4, then the blocks.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_16(rows: &[__m512; LANES]) -> [__m512; LANES] {
    let mut blocks = *rows;
    for group in blocks.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *group;
        let (low_ab, high_ab) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (low_cd, high_cd) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        *group = [
            unpack_low(low_ab, low_cd),
            unpack_high(low_ab, low_cd),
            unpack_low(high_ab, high_cd),
            unpack_high(high_ab, high_cd),
        ];
    }
    let mut columns = *rows;
    for column in 0..4 {
        let (a, b) = (blocks[column], blocks[column + 4]);
        let (c, d) = (blocks[column + 8], blocks[column + 12]);
        let (even_ab, odd_ab) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (even_cd, odd_cd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        columns[column] = _mm512_shuffle_f32x4::<0x88>(even_ab, even_cd);
        columns[column + 4] = _mm512_shuffle_f32x4::<0x88>(odd_ab, odd_cd);
        columns[column + 8] = _mm512_shuffle_f32x4::<0xdd>(even_ab, even_cd);
        columns[column + 12] = _mm512_shuffle_f32x4::<0xdd>(odd_ab, odd_cd);
    }
    columns
}

/// Pairs from the lower halves of both, within 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn unpack_low(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

/// Pairs from the upper halves of both, within 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn unpack_high(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

/// The first of each pair of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn low_bf16(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
}

/// The second of each pair of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn high_bf16(pairs: __m512i) -> __m512 {
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    _mm512_castsi512_ps(_mm512_and_si512(pairs, upper))
}

//! Sixteen lanes in a pair of 256-bit registers.

#[cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "some forty intrinsics"))]
use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX2, FMA and F16C, and AVX-VNNI if `VNNI`. A value is the proof that the processor has them.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// The proof, if the processor has the instructions.
    pub(in super::super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        found.then_some(Self(()))
    }

    /// The proof of the family's own instructions alone.
    pub(in super::super) fn without_extension(self) -> Avx2<false> {
        let Self(proof) = self;
        Avx2(proof)
    }
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type Floats = (__m256, __m256);
    type Ints = (__m256i, __m256i);
    type Bytes = (__m256i, __m256i);

    const TALL_TILES: bool = false;

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        // SAFETY: a hint, which takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let half = _mm256_set1_ps(value);
            (half, half)
        }
    }
    #[inline(always)]
    fn splat_int(self, value: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let half = _mm256_set1_epi32(value);
            (half, half)
        }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            (
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { (widen_bf16(_mm_loadu_si128(from.cast())), widen_bf16(_mm_loadu_si128(from.add(8).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::Floats {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            (
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> Self::Bytes {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            _mm256_storeu_ps(to, value.0);
            _mm256_storeu_ps(to.add(8), value.1);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value.0));
            _mm_storeu_si128(to.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value.1));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, value: Self::Floats) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            // The pack works within 128-bit lanes; the permutation puts them in order.
            let packed = _mm256_packus_epi32(round_bf16(value.0), round_bf16(value.1));
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut i8, value: Self::Ints) {
        // SAFETY: `self` proves the features; the caller vouches for the memory, which needs no alignment.
        unsafe {
            // The packs work within 128-bit lanes; the permutation puts them in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(value.0, value.1));
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn first(self, count: usize, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let count = _mm256_set1_epi32(count.min(LANES) as i32);
            let low = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            let high = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
            (
                _mm256_blendv_ps(b.0, a.0, _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(b.1, a.1, _mm256_castsi256_ps(high)),
            )
        }
    }
    #[inline(always)]
    fn round(self, a: Self::Floats) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_cvtps_epi32(a.0), _mm256_cvtps_epi32(a.1)) }
    }
    #[inline(always)]
    fn to_floats(self, a: Self::Ints) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1)) }
    }
    #[inline(always)]
    fn pow2(self, a: Self::Ints) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(a.0, bias));
            let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(a.1, bias));
            (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn sum(self, a: Self::Floats) -> f32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { sum_of_8(_mm256_add_ps(a.0, a.1)) }
    }
    #[inline(always)]
    fn largest(self, a: Self::Floats) -> f32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { largest_of_8(_mm256_max_ps(a.0, a.1)) }
    }
    #[inline(always)]
    fn sum_int(self, a: Self::Ints) -> i32 {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { sum_of_8_ints(_mm256_add_epi32(a.0, a.1)) }
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
            let count = _mm_cvtsi32_si128(right.abs());
            let (low, high) = match right {
                0 => a,
                1.. => (_mm256_srl_epi16(a.0, count), _mm256_srl_epi16(a.1, count)),
                ..0 => (_mm256_sll_epi16(a.0, count), _mm256_sll_epi16(a.1, count)),
            };
            let mask = _mm256_set1_epi8(mask.cast_signed());
            (_mm256_and_si256(low, mask), _mm256_and_si256(high, mask))
        }
    }
    #[inline(always)]
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe { (_mm256_or_si256(a.0, b.0), _mm256_or_si256(a.1, b.1)) }
    }
    #[inline(always)]
    fn dot_codes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs);
            if VNNI {
                (
                    _mm256_dpbusd_avx_epi32(sum.0, weights.0, inputs),
                    _mm256_dpbusd_avx_epi32(sum.1, weights.1, inputs),
                )
            } else {
                (dot_small(sum.0, weights.0, inputs), dot_small(sum.1, weights.1, inputs))
            }
        }
    }
    #[inline(always)]
    fn dot_bytes(self, sum: Self::Ints, weights: Self::Bytes, inputs: i32) -> Self::Ints {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs);
            if VNNI {
                (
                    _mm256_dpbusd_avx_epi32(sum.0, weights.0, inputs),
                    _mm256_dpbusd_avx_epi32(sum.1, weights.1, inputs),
                )
            } else {
                (dot_large(sum.0, weights.0, inputs), dot_large(sum.1, weights.1, inputs))
            }
        }
    }
    #[inline(always)]
    fn dot_pairs(self, sum: Self::Floats, weights: Self::Bytes, inputs: u32) -> Self::Floats {
        // SAFETY: `self` proves the features; no memory is touched.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs.cast_signed());
            (dot_bf16(sum.0, weights.0, inputs), dot_bf16(sum.1, weights.1, inputs))
        }
    }
}

/// Lane `i` plus lane `i + 4`, then 2, 1.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_8(a: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The larger of lane `i` and lane `i + 4`, then 2, 1.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn largest_of_8(a: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_8_ints(a: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_bf16(bits: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
}

/// The bits of eight bf16, each in the lower half of a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn round_bf16(a: __m256) -> __m256i {
    let bits = _mm256_castps_si256(a);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    _mm256_srli_epi32::<16>(rounded)
}

/// Dot products of four bytes whose pairs of products fit sixteen bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_small(sum: __m256i, weights: __m256i, inputs: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(weights, inputs);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Dot products of any four bytes: pairs of products could overflow, so even and odd bytes go apart.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_large(sum: __m256i, weights: __m256i, inputs: __m256i) -> __m256i {
    let even = _mm256_and_si256(weights, _mm256_set1_epi16(0x00ff));
    let odd = _mm256_andnot_si256(_mm256_set1_epi16(0x00ff), weights);
    let sum = dot_small(sum, even, inputs);
    dot_small(sum, odd, inputs)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_bf16(sum: __m256, weights: __m256i, inputs: __m256i) -> __m256 {
    let sum = _mm256_fmadd_ps(low_bf16(weights), low_bf16(inputs), sum);
    _mm256_fmadd_ps(high_bf16(weights), high_bf16(inputs), sum)
}

/// The first of each pair of bf16.
#[inline]
#[target_feature(enable = "avx2")]
fn low_bf16(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))
}

/// The second of each pair of bf16.
#[inline]
#[target_feature(enable = "avx2")]
fn high_bf16(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32.cast_signed())))
}

/// Rows become columns: four blocks of 8 x 8, of which the off-diagonal ones change places.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_16(rows: &[(__m256, __m256); LANES]) -> [(__m256, __m256); LANES] {
    let mut columns = *rows;
    let mut halves = [[_mm256_setzero_ps(); 8]; 4];
    for row in 0..8 {
        (halves[0][row], halves[1][row]) = rows[row];
        (halves[2][row], halves[3][row]) = rows[row + 8];
    }
    let (top_left, top_right) = (transpose_8(halves[0]), transpose_8(halves[1]));
    let (bottom_left, bottom_right) = (transpose_8(halves[2]), transpose_8(halves[3]));
    for column in 0..8 {
        columns[column] = (top_left[column], bottom_left[column]);
        columns[column + 8] = (top_right[column], bottom_right[column]);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose_8(rows: [__m256; 8]) -> [__m256; 8] {
    let mut blocks = rows;
    for group in blocks.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *group;
        let (low_ab, high_ab) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low_cd, high_cd) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        *group = [
            _mm256_shuffle_ps::<0x44>(low_ab, low_cd),
            _mm256_shuffle_ps::<0xee>(low_ab, low_cd),
            _mm256_shuffle_ps::<0x44>(high_ab, high_cd),
            _mm256_shuffle_ps::<0xee>(high_ab, high_cd),
        ];
    }
    let mut columns = rows;
    for column in 0..4 {
        columns[column] = _mm256_permute2f128_ps::<0x20>(blocks[column], blocks[column + 4]);
        columns[column + 4] = _mm256_permute2f128_ps::<0x31>(blocks[column], blocks[column + 4]);
    }
    columns
}

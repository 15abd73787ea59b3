//! The exponential function over vectors.

use super::Simd;

/// `1 / n!` for n from 7 down to 0.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
/// The upper bits of ln 2: an integer of up to eight bits times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// ln 2 less [`LN_2_HIGH`].
const LN_2_LOW: f32 = -0.000_212_194_44;
/// Beyond these, the result would not be a normal number.
const RANGE: (f32, f32) = (-87.0, 88.0);

/// `e^x`, with `x` clamped to -87..=88; at most two units in the last place off.
///
/// `x` is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` is its Taylor polynomial, whose rest
/// is below a tenth of a unit in the last place.
#[inline(always)]
pub(in super::super) fn exp<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    let x = simd.min(simd.max(x, simd.splat(RANGE.0)), simd.splat(RANGE.1));
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let minus_n = simd.sub(simd.splat(0.0), simd.to_floats(n));
    let r = simd.fma(minus_n, simd.splat(LN_2_HIGH), x);
    let r = simd.fma(minus_n, simd.splat(LN_2_LOW), r);
    let mut sum = simd.splat(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = simd.fma(sum, r, simd.splat(*coefficient));
    }
    simd.mul(sum, simd.pow2(n))
}

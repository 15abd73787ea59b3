//! The exponential function over vectors, and what is made of it.

use super::Simd;

/// `1 / n!` for n from 7 down to 0.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
/// The upper bits of ln 2: an integer of up to eight bits times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// ln 2 less [`LN_2_HIGH`].
const LN_2_LOW: f32 = -0.000_212_194_44;
/// Beyond these, the result would not be a normal number.
const RANGE: (f32, f32) = (-87.0, 88.0);
/// Beyond it, the hyperbolic tangent of half as much is one in f32.
const TANH_RANGE: f32 = 20.0;

/// `e^x`, with `x` clamped to -87..=88; at most two units in the last place off.
///
/// `x` is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` is its Taylor polynomial, whose rest
/// is below a tenth of a unit in the last place.
#[inline(always)]
pub(in super::super) fn exp<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    let x = simd.min(simd.max(x, simd.splat(RANGE.0)), simd.splat(RANGE.1));
    let (n, r) = split(simd, x);
    simd.mul(polynomial(simd, r, &TAYLOR), simd.pow2(n))
}

/// `tanh(x)`, exact for small `x` as well: at most four units in the last place off.
///
/// With `m = e^(2 x) - 1` it is `m / (m + 2)`, and `m` is summed without its one, which would swallow
/// the digits of a small `x`. NaN stays NaN, so that broken logits are noticed behind a soft cap as well.
#[inline(always)]
pub(in super::super) fn tanh<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    // In this order: of NaN and a number, both give the second.
    let clamped = simd.max(simd.splat(-TANH_RANGE), simd.add(x, x));
    let (n, r) = split(simd, simd.min(simd.splat(TANH_RANGE), clamped));
    let power = simd.pow2(n);
    let above_one = simd.mul(polynomial(simd, r, &TAYLOR[..7]), r);
    let m = simd.fma(above_one, power, simd.sub(power, simd.splat(1.0)));
    simd.div(m, simd.add(m, simd.splat(2.0)))
}

/// `cap * tanh(x / cap)`: nearly `x` if it is small beside the cap, and never beyond it.
#[inline(always)]
pub(in super::super) fn soft_cap<S: Simd>(simd: S, x: S::Floats, cap: f32) -> S::Floats {
    let cap = simd.splat(cap);
    simd.mul(cap, tanh(simd, simd.div(x, cap)))
}

/// `x` as `n ln 2 + r`; of NaN, `r` is NaN and `n` any number.
#[inline(always)]
fn split<S: Simd>(simd: S, x: S::Floats) -> (S::Ints, S::Floats) {
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let minus_n = simd.sub(simd.splat(0.0), simd.to_floats(n));
    let r = simd.fma(minus_n, simd.splat(LN_2_HIGH), x);
    (n, simd.fma(minus_n, simd.splat(LN_2_LOW), r))
}

/// The polynomial with these coefficients, that of the highest power first.
#[inline(always)]
fn polynomial<S: Simd>(simd: S, r: S::Floats, coefficients: &[f32]) -> S::Floats {
    let mut sum = simd.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = simd.fma(sum, r, simd.splat(*coefficient));
    }
    sum
}

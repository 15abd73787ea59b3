//! Exponentials of many non-positive numbers, fast and the same on every machine.
//!
//! Only additions and multiplications of f32 in a fixed order, without fused ones, so that compilers compute many lanes
//! at a time and every processor gives the same bits.

/// Below this, `e^x` is smaller than the smallest normal f32; it counts as zero.
const LOWEST: f32 = -87.0;
/// 1.5 * 2^23: adding and subtracting it rounds to an integer.
const ROUNDER: f32 = 12_582_912.0;
/// The upper part of `ln 2`, short enough for its product with an exponent to be exact, and the rest.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` for `x <= 0`, within a few units in the last place; zero below -87.
#[inline]
pub(super) fn exp_non_positive(x: f32) -> f32 {
    let clamped = if x < LOWEST { LOWEST } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let exponent = rounded - ROUNDER;
    let r = (clamped - exponent * LN_2_HIGH) - exponent * LN_2_LOW;
    // Taylor's series up to the seventh power: |r| <= ln(2) / 2, so the next term is below 6e-9.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    // The integer stands in the low bits of `rounded`; moved to the exponent's place, it is a power of two.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { sum * power }
}

/// Lanes of a sum, and numbers that are added up in f32 before they are added in f64.
const LANES: usize = 16;
const RUN: usize = 64 * LANES;

/// `sum_i e^(values[i] - maximum)`: in f32 over short runs of fixed lanes, those added up in f64.
pub(super) fn sum_of_exp(values: &[f32], maximum: f32) -> f64 {
    let mut total = 0.0;
    for run in values.chunks(RUN) {
        let mut lanes = [0.0_f32; LANES];
        let (chunks, rest) = run.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane += exp_non_positive(value - maximum);
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(rest) {
            *lane += exp_non_positive(value - maximum);
        }
        total += add_lanes(&lanes);
    }
    total
}

/// The sum of a short run of numbers, in f32 over fixed lanes, those added up in f64.
pub(super) fn sum_in_lanes(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    add_lanes(&lanes)
}

fn add_lanes(lanes: &[f32; LANES]) -> f64 {
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_exponential_of_the_standard_library() {
        let mut worst = 0.0_f64;
        for step in 0..870_000_u32 {
            let x = -(f64::from(step) * 1e-4) as f32;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_non_positive(x)) / exact - 1.0).abs());
        }
        assert!(worst < 3e-7, "largest relative error {worst}");
        assert_eq!(exp_non_positive(0.0), 1.0);
        assert_eq!(exp_non_positive(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_non_positive(-1000.0), 0.0);
    }

    #[test]
    fn sums_do_not_depend_on_where_a_run_ends() {
        let values: Vec<f32> = (0..5000).map(|i| (i * 37 % 101) as f32 * -0.1).collect();
        let exact: f64 = values.iter().map(|&value| f64::from(value).exp()).sum();
        assert!((sum_of_exp(&values, 0.0) / exact - 1.0).abs() < 1e-6);
        assert_eq!(sum_of_exp(&[], 0.0), 0.0);
    }
}

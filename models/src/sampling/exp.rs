//! Exponentials of many non-positive numbers, fast and the same on every machine.
//!
//! Only additions and multiplications of f32 in a fixed order, without fused ones, so that compilers compute many lanes
//! at a time and every processor gives the same bits.

/// Below this, `e^x` is smaller than the smallest normal f32; it counts as zero.
const LOWEST: f32 = -87.0;
/// 1.5 * 2^23: adding and subtracting it rounds to an integer.
const ROUNDER: f32 = 12_582_912.0;
/// Taylor's series of `2^f`, from the sixth power down: for `|f| <= 1/2` the next term is below 2e-7.
const COEFFICIENTS: [f32; 7] =
    [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0];

/// `e^x` for `x <= 0`; zero below -87.
///
/// The relative error grows with `-x` to 4e-6 while `e^x` vanishes: no sum is off by more than 3e-7 of its largest term.
#[inline]
pub(super) fn exp_non_positive(x: f32) -> f32 {
    if x < LOWEST { 0.0 } else { exp_or_tiny(x) }
}

/// As [`exp_non_positive`], but never below `e^-87`, which does not matter where a 1 is added.
#[inline]
fn exp_or_tiny(x: f32) -> f32 {
    let clamped = if x < LOWEST { LOWEST } else { x };
    let power = clamped * std::f32::consts::LOG2_E;
    let rounded = power + ROUNDER;
    let fraction = power - (rounded - ROUNDER);
    let mut sum = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        sum = sum * fraction + coefficient;
    }
    // The integer stands in the low bits of `rounded`; moved to the exponent's place, it is a power of two.
    sum * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
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
                *lane += exp_or_tiny(value - maximum);
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(rest) {
            *lane += exp_or_tiny(value - maximum);
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
        let (mut worst, mut worst_relative) = (0.0_f64, 0.0_f64);
        for step in 0..870_000_u32 {
            let x = -(f64::from(step) * 1e-4) as f32;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_non_positive(x)) - exact).abs();
            worst = worst.max(error);
            worst_relative = worst_relative.max(error / exact);
        }
        assert!(worst < 3e-7, "largest error {worst}");
        assert!(worst_relative < 6e-6, "largest relative error {worst_relative}");
        let bits = [0.0, f32::NEG_INFINITY, -1000.0].map(|x| exp_non_positive(x).to_bits());
        assert_eq!(bits, [1.0_f32, 0.0, 0.0].map(f32::to_bits));
    }

    #[test]
    fn sums_do_not_depend_on_where_a_run_ends() {
        let values: Vec<f32> = (0..5000).map(|i| (i * 37 % 101) as f32 * -0.1).collect();
        let exact: f64 = values.iter().map(|&value| f64::from(value).exp()).sum();
        assert!((sum_of_exp(&values, 0.0) / exact - 1.0).abs() < 1e-6);
        assert_eq!(sum_of_exp(&[], 0.0).to_bits(), 0.0_f64.to_bits());
    }
}

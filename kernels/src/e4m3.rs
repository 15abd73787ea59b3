//! Floats of eight bits as the KV cache of a GPU may hold them: sign, four bits of exponent, three of mantissa.
//!
//! The largest is 448, and there is no infinity. What is larger becomes 448 (numbers saturate); there is no scale.
//!
//! Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
//! Kernels: `kernels/cuda/kv_element.cuh`, which rounds in the same way.

/// A float of eight bits by its bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct E4m3(pub u8);

/// The largest number.
const LARGEST: f32 = 448.0;
/// The smallest number with a leading one.
const SMALLEST_NORMAL: f32 = 0.015_625;
/// Subnormals are multiples of one part in so many.
const STEPS_OF_SUBNORMALS: f32 = 512.0;

impl E4m3 {
    /// The nearest, ties to even. What is larger than 448 becomes 448, and what is no number -448, as on the device.
    pub fn from_f32(value: f32) -> Self {
        let clamped = if value.is_nan() { -LARGEST } else { value.clamp(-LARGEST, LARGEST) };
        let sign = u8::from(clamped.is_sign_negative()) << 7;
        let magnitude = clamped.abs();
        if magnitude < SMALLEST_NORMAL {
            return Self(sign | (magnitude * STEPS_OF_SUBNORMALS).round_ties_even() as u8);
        }
        let bits = magnitude.to_bits();
        // Half of the last place less one, and one more where that place is odd.
        let rounded = (bits + 0x7_ffff + (bits >> 20 & 1)) >> 20;
        // The biases are 127 and 7.
        Self(sign | (rounded - ((127 - 7) << 3)) as u8)
    }

    /// The number it stands for.
    pub fn to_f32(self) -> f32 {
        let (exponent, mantissa) = (i32::from(self.0 >> 3 & 15), f32::from(self.0 & 7));
        if (self.0 & 0x7f) == 0x7f {
            return f32::NAN;
        }
        let magnitude = match exponent {
            0 => mantissa / STEPS_OF_SUBNORMALS,
            _ => (8.0 + mantissa) * 2.0_f32.powi(exponent - 10),
        };
        if self.0 & 0x80 == 0 { magnitude } else { -magnitude }
    }

    /// The number it stands for.
    pub fn to_f64(self) -> f64 {
        f64::from(self.to_f32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> impl Iterator<Item = E4m3> {
        (0..=u8::MAX).map(E4m3).filter(|number| !number.to_f32().is_nan())
    }

    #[test]
    fn every_number_is_kept_and_stands_in_order() {
        let mut previous = f32::NEG_INFINITY;
        for code in (0x80..=0xfe).rev().chain(0..=0x7e).map(E4m3) {
            assert_eq!(E4m3::from_f32(code.to_f32()), code);
            assert!(code.to_f32() > previous || code.to_f32() == 0.0, "{code:?}");
            previous = code.to_f32();
        }
        assert_eq!((E4m3(0x7e).to_f32(), E4m3(0x38).to_f32(), E4m3(1).to_f32()), (448.0, 1.0, 1.0 / 512.0));
        assert_eq!(numbers().count(), 254);
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_ties_to_the_even_one() {
        let codes: Vec<E4m3> = (0..=0x7e).map(E4m3).collect();
        for pair in codes.windows(2) {
            let [low, high] = [pair[0].to_f32(), pair[1].to_f32()];
            let middle = f32::midpoint(low, high);
            let even = if pair[0].0.is_multiple_of(2) { pair[0] } else { pair[1] };
            assert_eq!(E4m3::from_f32(middle), even, "{middle}");
            assert_eq!(E4m3::from_f32(middle - (high - low) / 8.0), pair[0], "below {middle}");
            assert_eq!(E4m3::from_f32(middle + (high - low) / 8.0), pair[1], "above {middle}");
            assert_eq!(E4m3::from_f32(-middle).0, even.0 | 0x80, "-{middle}");
        }
    }

    #[test]
    fn what_is_too_large_is_the_largest() {
        for large in [449.0, 1e9, f32::INFINITY] {
            assert_eq!(E4m3::from_f32(large).to_f32().to_bits(), LARGEST.to_bits());
            assert_eq!(E4m3::from_f32(-large).to_f32().to_bits(), (-LARGEST).to_bits());
        }
        assert_eq!(E4m3::from_f32(f32::NAN).to_f32().to_bits(), (-LARGEST).to_bits());
    }
}

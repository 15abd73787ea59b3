//! A file's bytes as f32: floats widened, blocks dequantised.
//!
//! For what is needed exactly as the format defines it: norms, rotary factors, and all weights of the oracle. The
//! decoder's matrices go to the device in their own bytes instead.

use spillway_kernels::WeightType;
use spillway_kernels::weight::dequantise;

/// The numbers that `bytes` hold; a trailing part of a block is left out.
pub(crate) fn to_f32(weight_type: WeightType, bytes: &[u8]) -> Vec<f32> {
    let num_blocks = bytes.len() / weight_type.block_bytes();
    let mut values = vec![0.0; num_blocks * weight_type.block_len()];
    dequantise(weight_type, &bytes[..num_blocks * weight_type.block_bytes()], &mut values)
        .expect("the numbers were counted from the bytes");
    values
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn decodes_each_type_as_its_format_defines_it() {
        assert_eq!(to_f32(WeightType::F32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(to_f32(WeightType::F16, &f16::from_f32(-0.25).to_le_bytes()), [-0.25]);
        assert_eq!(to_f32(WeightType::BF16, &bf16::from_f32(3.0).to_le_bytes()), [3.0]);
        let (scale, minimum) = (f16::from_f32(0.5).to_le_bytes(), f16::from_f32(-1.0).to_le_bytes());
        let mut packed = [0_u8; 16];
        packed[0] = 0x3f;
        let values = to_f32(WeightType::Q4_0, &[&scale[..], &packed].concat());
        assert_eq!((values[0], values[1], values[16]), (3.5, -4.0, -2.5));
        let values = to_f32(WeightType::Q4_1, &[&scale[..], &minimum, &packed].concat());
        assert_eq!((values[0], values[1], values[16]), (6.5, -1.0, 0.5));
        let mut bytes = [0_u8; 32];
        (bytes[0], bytes[31]) = (0xff, 4);
        let values = to_f32(WeightType::Q8_0, &[&scale[..], &bytes].concat());
        assert_eq!((values[0], values[1], values[31]), (-0.5, 0.0, 2.0));
    }

    #[test]
    fn every_golden_block_decodes_to_the_same_bits() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/dequant.json"))
                .expect("the golden is JSON");
        let cases = golden["cases"].as_array().expect("a list of cases");
        let text = |case: &serde_json::Value, field: &str| case[field].as_str().expect("a text").to_owned();
        for weight_type in WeightType::ALL {
            let of_type: Vec<_> = cases
                .iter()
                .filter(|case| text(case, "type").eq_ignore_ascii_case(weight_type.name()))
                .collect();
            let least = if weight_type.block_len() == 1 { 1 } else { 11 };
            let is_plain = weight_type == WeightType::F32;
            assert!(of_type.len() >= least || is_plain, "{weight_type}: only {} cases", of_type.len());
            for case in of_type {
                let bytes = from_hex(&text(case, "hex"));
                let expected = from_hex(&text(case, "f32"));
                let expected = expected.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                let decoded = to_f32(weight_type, &bytes);
                assert_eq!(decoded.len(), expected.len(), "{weight_type}");
                for (place, (decoded, expected)) in decoded.into_iter().zip(expected).enumerate() {
                    // A NaN's sign and payload are the processor's choice.
                    let is_same =
                        decoded.to_bits() == expected.to_bits() || decoded.is_nan() && expected.is_nan();
                    assert!(is_same, "{weight_type}[{place}] is {decoded}, not {expected}: {}", case["hex"]);
                }
            }
        }
    }

    fn from_hex(digits: &str) -> Vec<u8> {
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("two digits"))
            .collect()
    }
}

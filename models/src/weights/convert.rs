//! A file's bytes as f32: floats widened, blocks of 32 dequantised.
//!
//! For what is needed exactly as the format defines it: norms, rotary factors, and all weights of the oracle. The
//! decoder's matrices go to the device in their own bytes instead.

use half::{bf16, f16};
use spillway_kernels::WeightType;

/// The numbers that `bytes` hold; a trailing part of a block is left out.
pub(crate) fn to_f32(weight_type: WeightType, bytes: &[u8]) -> Vec<f32> {
    match weight_type {
        WeightType::F32 => floats(bytes, |b: [u8; 4]| f32::from_le_bytes(b)),
        WeightType::F16 => floats(bytes, |b: [u8; 2]| f16::from_le_bytes(b).to_f32()),
        WeightType::BF16 => floats(bytes, |b: [u8; 2]| bf16::from_le_bytes(b).to_f32()),
        WeightType::Q4_0 => blocks(bytes, 18, |block, out| {
            let scale = half_at(block, 0);
            nibbles(&block[2..], |i, q| out[i] = scale * (f32::from(q) - 8.0));
        }),
        WeightType::Q4_1 => blocks(bytes, 20, |block, out| {
            let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
            nibbles(&block[4..], |i, q| out[i] = scale * f32::from(q) + minimum);
        }),
        WeightType::Q8_0 => blocks(bytes, 34, |block, out| {
            let scale = half_at(block, 0);
            for (value, &q) in out.iter_mut().zip(&block[2..]) {
                *value = scale * f32::from(q.cast_signed());
            }
        }),
    }
}

fn floats<const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| decode(chunk)).collect()
}

fn blocks(bytes: &[u8], block_bytes: usize, decode: impl Fn(&[u8], &mut [f32])) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / block_bytes * 32];
    for (block, out) in bytes.chunks_exact(block_bytes).zip(values.chunks_exact_mut(32)) {
        decode(block, out);
    }
    values
}

fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// Calls `put` with index and value of each of 32 nibbles: the low ones are the first half.
fn nibbles(packed: &[u8], mut put: impl FnMut(usize, u8)) {
    for (i, &byte) in packed.iter().take(16).enumerate() {
        put(i, byte & 0x0f);
        put(i + 16, byte >> 4);
    }
}

#[cfg(test)]
mod tests {
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
        assert!(cases.len() > 30, "only {} cases", cases.len());
        for case in cases {
            let weight_type = match case["type"].as_str().expect("a type") {
                "Q4_0" => WeightType::Q4_0,
                "Q4_1" => WeightType::Q4_1,
                "Q8_0" => WeightType::Q8_0,
                "F16" => WeightType::F16,
                "BF16" => WeightType::BF16,
                other => panic!("the golden has a new type {other}"),
            };
            let hex = case["hex"].as_str().expect("hexadecimal digits");
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("two digits"))
                .collect();
            let values = case["values"].as_array().expect("a list of numbers");
            let values: Vec<u32> =
                values.iter().map(|value| (value.as_f64().expect("a number") as f32).to_bits()).collect();
            let decoded: Vec<u32> = to_f32(weight_type, &bytes).into_iter().map(f32::to_bits).collect();
            assert_eq!(decoded, values, "{weight_type} {hex}");
        }
    }
}

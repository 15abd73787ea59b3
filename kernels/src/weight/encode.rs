//! Numbers to a weight type's bytes: the other direction of [`dequantise`](super::dequantise()).
//!
//! Quantisation is the plain one, by the largest magnitude or the range of each block: it takes a moment at load. A file
//! made for use would search for better scales.

use half::{bf16, f16};

use super::WeightType;
use crate::error::KernelError;

mod k_blocks;

/// Writes `values` into `bytes`.
///
/// # Errors
///
/// [`KernelError::ByteLength`] unless the bytes are those of exactly as many numbers, in whole blocks.
pub fn encode(weight_type: WeightType, values: &[f32], bytes: &mut [u8]) -> Result<(), KernelError> {
    weight_type.expect_bytes(values.len(), bytes.len())?;
    encode_numbers(weight_type, values, bytes);
    Ok(())
}

/// [`encode`] for callers that have cut whole blocks.
pub(crate) fn encode_numbers(weight_type: WeightType, values: &[f32], bytes: &mut [u8]) {
    let blocks = values.chunks(weight_type.block_len()).zip(bytes.chunks_mut(weight_type.block_bytes()));
    for (values, out) in blocks {
        match weight_type {
            WeightType::F32 => out.copy_from_slice(&values[0].to_le_bytes()),
            WeightType::F16 => out.copy_from_slice(&f16::from_f32(values[0]).to_le_bytes()),
            WeightType::BF16 => out.copy_from_slice(&bf16::from_f32(values[0]).to_le_bytes()),
            WeightType::Q4_0 => encode_q4_0(values, out),
            WeightType::Q4_1 => encode_q4_1(values, out),
            WeightType::Q5_0 => encode_q5_0(values, out),
            WeightType::Q5_1 => encode_q5_1(values, out),
            WeightType::Q8_0 => encode_q8_0(values, out),
            WeightType::Q2K | WeightType::Q3K | WeightType::Q4K | WeightType::Q5K | WeightType::Q6K => {
                out.fill(0);
                k_blocks::encode(weight_type, values, out);
            }
        }
    }
}

fn encode_q4_0(values: &[f32], out: &mut [u8]) {
    // The number of largest magnitude becomes -8, the end of the longer side.
    let scale = put_half(out, 0, extreme(values) / -8.0);
    put_nibbles(&mut out[2..], values, |value| divide(value, scale) + 8.0);
}

fn encode_q4_1(values: &[f32], out: &mut [u8]) {
    let (least, most) = range(values);
    let scale = put_half(out, 0, (most - least) / 15.0);
    let minimum = put_half(out, 2, least);
    put_nibbles(&mut out[4..], values, |value| divide(value - minimum, scale));
}

fn encode_q5_0(values: &[f32], out: &mut [u8]) {
    let scale = put_half(out, 0, extreme(values) / -16.0);
    put_five_bits(&mut out[2..], values, |value| divide(value, scale) + 16.0);
}

fn encode_q5_1(values: &[f32], out: &mut [u8]) {
    let (least, most) = range(values);
    let scale = put_half(out, 0, (most - least) / 31.0);
    let minimum = put_half(out, 2, least);
    put_five_bits(&mut out[4..], values, |value| divide(value - minimum, scale));
}

fn encode_q8_0(values: &[f32], out: &mut [u8]) {
    let largest = values.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    let scale = put_half(out, 0, largest / 127.0);
    for (byte, &value) in out[2..].iter_mut().zip(values) {
        *byte = (divide(value, scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    }
}

/// The number of largest magnitude.
fn extreme(values: &[f32]) -> f32 {
    values.iter().copied().fold(0.0_f32, |a, b| if b.abs() > a.abs() { b } else { a })
}

/// The least and the greatest number.
fn range(values: &[f32]) -> (f32, f32) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    (least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// Writes a half and answers with the value that a reader will see.
fn put_half(out: &mut [u8], at: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    out[at..at + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// Writes 32 numbers from 0 to 15: the first half into the low nibbles.
fn put_nibbles(out: &mut [u8], values: &[f32], level: impl Fn(f32) -> f32) {
    let nibble = |value: f32| level(value).round().clamp(0.0, 15.0) as u8;
    let (low, high) = values.split_at(values.len() / 2);
    for ((byte, &low), &high) in out.iter_mut().zip(low).zip(high) {
        *byte = nibble(low) | nibble(high) << 4;
    }
}

/// Writes 32 numbers from 0 to 31: the fifth bits of all, then the nibbles.
fn put_five_bits(out: &mut [u8], values: &[f32], level: impl Fn(f32) -> f32) {
    let code = |value: f32| level(value).round().clamp(0.0, 31.0) as u32;
    let fifth_bits = values.iter().enumerate().fold(0, |bits, (i, &value)| bits | (code(value) >> 4) << i);
    out[..4].copy_from_slice(&fifth_bits.to_le_bytes());
    put_nibbles(&mut out[4..], values, |value| (code(value) & 15) as f32);
}

/// A block of equal numbers has a scale of zero, and any level will do.
fn divide(value: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { value / scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weight::dequantise;

    #[test]
    fn what_is_encoded_decodes_to_the_nearest_level() {
        let values: Vec<f32> = (0..256).map(|i| ((i * 29 % 64) as f32 - 30.0) * 0.01).collect();
        for (weight_type, tolerance) in [
            (WeightType::F32, 0.0),
            (WeightType::F16, 2e-4),
            (WeightType::BF16, 2e-3),
            (WeightType::Q4_0, 0.042),
            (WeightType::Q4_1, 0.022),
            (WeightType::Q5_0, 0.021),
            (WeightType::Q5_1, 0.011),
            (WeightType::Q8_0, 0.0015),
            (WeightType::Q2K, 0.12),
            (WeightType::Q3K, 0.09),
            (WeightType::Q4K, 0.025),
            (WeightType::Q5K, 0.014),
            (WeightType::Q6K, 0.011),
        ] {
            let mut bytes = vec![0; weight_type.row_bytes(256).expect("whole blocks")];
            encode(weight_type, &values, &mut bytes).expect("the bytes are those of the numbers");
            let mut decoded = vec![0.0; values.len()];
            dequantise(weight_type, &bytes, &mut decoded).expect("as many numbers");
            let worst = values.iter().zip(&decoded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= tolerance, "{weight_type}: {worst}");
        }
    }
}

//! A file's bytes as f32, exactly as the format defines them.
//!
//! Every product and sum is rounded on its own, in the order in which the Python package `gguf` takes
//! them, so that the bits are the same as there.

use super::WeightType;
use super::block::{Block, BlockForm, Offset};
use crate::error::KernelError;

/// Writes the numbers that `bytes` hold into `values`.
///
/// # Errors
///
/// [`KernelError::ByteLength`] unless the bytes are those of exactly as many numbers, in whole blocks.
pub fn dequantise(weight_type: WeightType, bytes: &[u8], values: &mut [f32]) -> Result<(), KernelError> {
    weight_type.expect_bytes(values.len(), bytes.len())?;
    decode_numbers(weight_type, bytes, values);
    Ok(())
}

/// [`dequantise`] for callers that have cut whole blocks, to become part of vector code.
#[inline(always)]
pub(crate) fn decode_numbers(weight_type: WeightType, bytes: &[u8], values: &mut [f32]) {
    match weight_type {
        WeightType::F32 => {
            for (value, number) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*number);
            }
        }
        WeightType::F16 => {
            for (value, number) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = widen_f16(u16::from_le_bytes(*number));
            }
        }
        WeightType::BF16 => {
            for (value, number) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*number)) << 16);
            }
        }
        WeightType::Q4_0 => decode_blocks(WeightType::Q4_0, bytes, values),
        WeightType::Q4_1 => decode_blocks(WeightType::Q4_1, bytes, values),
        WeightType::Q5_0 => decode_blocks(WeightType::Q5_0, bytes, values),
        WeightType::Q5_1 => decode_blocks(WeightType::Q5_1, bytes, values),
        WeightType::Q8_0 => decode_blocks(WeightType::Q8_0, bytes, values),
        WeightType::Q2K => decode_blocks(WeightType::Q2K, bytes, values),
        WeightType::Q3K => decode_blocks(WeightType::Q3K, bytes, values),
        WeightType::Q4K => decode_blocks(WeightType::Q4K, bytes, values),
        WeightType::Q5K => decode_blocks(WeightType::Q5K, bytes, values),
        WeightType::Q6K => decode_blocks(WeightType::Q6K, bytes, values),
    }
}

/// The type is a constant wherever this is called, which makes all lengths constants, too.
#[inline(always)]
fn decode_blocks(weight_type: WeightType, bytes: &[u8], values: &mut [f32]) {
    let form = BlockForm::of(weight_type).expect("the caller has sorted out floats");
    let mut block = Block::empty();
    let encoded = bytes.chunks_exact(weight_type.block_bytes());
    for (values, bytes) in values.chunks_exact_mut(form.len).zip(encoded) {
        block.unpack(weight_type, bytes);
        decode_block(form, &block, values);
    }
}

/// The numbers of a block that was taken apart.
#[inline(always)]
pub(crate) fn decode_block(form: BlockForm, block: &Block, values: &mut [f32]) {
    let (scale, minimum) = (block.scale.to_f32(), block.minimum.to_f32());
    let groups = values.chunks_exact_mut(form.group).zip(block.codes.chunks_exact(form.group));
    for (place, (values, codes)) in groups.enumerate() {
        let scale = scale * f32::from(block.group_scales[place]);
        match form.offset {
            Offset::ZeroPoint(zero) => {
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = scale * (f32::from(code) - f32::from(zero));
                }
            }
            Offset::Minimum => {
                let minimum = minimum * f32::from(block.group_minima[place]);
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = scale * f32::from(code) + minimum;
                }
            }
        }
    }
}

/// An f16 as f32, without branches, so that a loop of it becomes vector code.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    // The exponent's bias goes from 15 to 127. A subnormal gets an exponent that it must lose again.
    const REBIAS: u32 = (127 - 15) << 23;
    const SMALLEST_NORMAL: f32 = f32::from_bits((127 - 14) << 23);
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let exponent = bits & 0x7c00;
    let normal = magnitude + REBIAS;
    let subnormal = (f32::from_bits(normal + (1 << 23)) - SMALLEST_NORMAL).to_bits();
    let special = normal + REBIAS;
    let widened = if exponent == 0 { subnormal } else { normal };
    let widened = if exponent == 0x7c00 { special } else { widened };
    f32::from_bits(widened | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_f16_is_widened_as_the_format_defines_it() {
        for bits in 0..=u16::MAX {
            let (widened, expected) = (widen_f16(bits), f16::from_bits(bits).to_f32());
            let is_same = widened.to_bits() == expected.to_bits() || widened.is_nan() && expected.is_nan();
            assert!(is_same, "{bits:#06x} became {widened}, expected {expected}");
        }
    }

    #[test]
    fn bytes_that_are_not_those_of_the_numbers_are_refused() {
        let mut values = [0.0; 256];
        let error = dequantise(WeightType::Q4K, &[0; 145], &mut values).expect_err("one byte too many");
        assert_eq!(error.to_string(), "`numbers of a weight` holds 145 bytes, expected 144");
        assert!(dequantise(WeightType::Q4K, &[0; 144], &mut values[1..]).is_err());
        assert!(dequantise(WeightType::Q4K, &[0; 144], &mut values).is_ok());
    }
}

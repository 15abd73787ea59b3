//! Packing into panels of f32, f16 or bf16, from rows of any type.
//!
//! Sixteen rows are decoded some hundred numbers at a time into memory that stays in the first-level
//! cache, turned into columns, and written where the panel wants them.

use std::marker::PhantomData;

use crate::cpu::isa::Task;
use crate::cpu::simd::{LANES, Simd};
use crate::weight::{WeightType, block, decode_numbers};

/// Numbers of a row that are decoded at once: whole blocks of any type.
const CHUNK: usize = block::MAX_BLOCK;

/// How a panel of floats keeps sixteen columns.
pub(super) trait FloatPanel {
    /// Bytes of a number.
    const SIZE: usize;
    /// Columns that are kept together.
    const GROUP: usize;

    /// Writes `columns`, of which there are a whole number of groups.
    fn put<S: Simd>(simd: S, columns: &[S::Floats], target: &mut [u8]);
}

/// `[k, 16]` in f32.
pub(super) struct F32;
/// `[k, 16]` in f16, rounded to nearest even.
pub(super) struct F16;
/// `[k / 2, 16, 2]` in bf16, rounded to nearest even.
pub(super) struct Bf16;

impl FloatPanel for F32 {
    const SIZE: usize = 4;
    const GROUP: usize = 1;

    #[inline(always)]
    fn put<S: Simd>(simd: S, columns: &[S::Floats], target: &mut [u8]) {
        for (&column, target) in columns.iter().zip(target.as_chunks_mut::<{ 4 * LANES }>().0) {
            // SAFETY: the array has room for sixteen f32; a store needs no alignment.
            unsafe { simd.store(target.as_mut_ptr().cast(), column) };
        }
    }
}

impl FloatPanel for F16 {
    const SIZE: usize = 2;
    const GROUP: usize = 1;

    #[inline(always)]
    fn put<S: Simd>(simd: S, columns: &[S::Floats], target: &mut [u8]) {
        for (&column, target) in columns.iter().zip(target.as_chunks_mut::<{ 2 * LANES }>().0) {
            // SAFETY: the array has room for sixteen f16; a store needs no alignment.
            unsafe { simd.store_f16(target.as_mut_ptr().cast(), column) };
        }
    }
}

impl FloatPanel for Bf16 {
    const SIZE: usize = 2;
    const GROUP: usize = 2;

    #[inline(always)]
    fn put<S: Simd>(simd: S, columns: &[S::Floats], target: &mut [u8]) {
        for (pair, target) in columns.as_chunks::<2>().0.iter().zip(target.as_chunks_mut::<{ 4 * LANES }>().0)
        {
            let mut values = [[0.0; LANES]; 2];
            for (values, &column) in values.iter_mut().zip(pair) {
                // SAFETY: the array has room for sixteen f32.
                unsafe { simd.store(values.as_mut_ptr(), column) };
            }
            for (lane, target) in target.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let [low, high] = values.map(|values| round_bf16(values[lane]));
                *target = (low | high << 16).to_le_bytes();
            }
        }
    }
}

/// The bits of the nearest bf16, without branches; a NaN stays one.
#[inline(always)]
fn round_bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

/// Up to sixteen rows, each of `k` numbers, become one panel.
pub(super) struct PackFloats<'a, P> {
    k: usize,
    rows: &'a [(WeightType, &'a [u8])],
    panel: &'a mut [u8],
    kind: PhantomData<P>,
}

impl<'a, P> PackFloats<'a, P> {
    pub(super) fn new(k: usize, rows: &'a [(WeightType, &'a [u8])], panel: &'a mut [u8]) -> Self {
        Self { k, rows, panel, kind: PhantomData }
    }
}

impl<P: FloatPanel> Task for PackFloats<'_, P> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut values = [[0.0_f32; CHUNK]; LANES];
        for first in (0..self.k).step_by(CHUNK) {
            let count = CHUNK.min(self.k - first);
            for ((weight_type, bytes), values) in self.rows.iter().zip(&mut values) {
                let block_bytes = weight_type.block_bytes();
                let start = first / weight_type.block_len() * block_bytes;
                let bytes = &bytes[start..start + count / weight_type.block_len() * block_bytes];
                decode_numbers(*weight_type, bytes, &mut values[..count]);
                // What is past the last number is written where the panel has room, and must be zero.
                values[count..].fill(0.0);
            }
            for column in (0..count).step_by(LANES) {
                let mut rows = [simd.splat(0.0); LANES];
                for (row, values) in rows.iter_mut().zip(&values) {
                    // SAFETY: each row has `CHUNK` values, a multiple of sixteen. No closure here: it would
                    // not have the instruction set's features.
                    *row = unsafe { simd.load(values.as_ptr().add(column)) };
                }
                let columns = simd.transpose(rows);
                let present = (count - column).min(LANES).next_multiple_of(P::GROUP);
                let start = (first + column) * LANES * P::SIZE;
                let target = &mut self.panel[start..start + present * LANES * P::SIZE];
                P::put(simd, &columns[..present], target);
            }
        }
    }
}

/// Reads one lane of a panel of floats.
pub(super) fn read_lane(weight_type: WeightType, panel: &[u8], lane: usize, values: &mut [f32]) {
    for (index, value) in values.iter_mut().enumerate() {
        let (place, size) = match weight_type {
            WeightType::F32 => (index * LANES + lane, 4),
            WeightType::BF16 => ((index / 2 * LANES + lane) * 2 + index % 2, 2),
            _ => (index * LANES + lane, 2),
        };
        decode_numbers(weight_type, &panel[place * size..][..size], std::slice::from_mut(value));
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn bf16_is_rounded_as_the_format_defines_it() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                assert_eq!(round_bf16(value), u32::from(bf16::from_f32(value).to_bits()), "{value}");
            }
        }
    }
}

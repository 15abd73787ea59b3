//! Activations as the products of 16-bit and of quantised weights take them.
//!
//! Each row is converted on its own, so its bits do not depend on the other rows.

use crate::weight::{QUANT_BLOCK, WeightType};

use super::super::disjoint::Disjoint;
use super::super::isa::Task;
use super::super::simd::{LANES, Simd};
use super::super::{CpuDevice, CpuWorkspace};

/// Rows that one unit converts.
const ROWS_PER_UNIT: usize = 8;

/// Rows of bf16, in pairs along `k`: `[rows, ceil(k / 2)]`.
pub(super) fn convert_to_pairs<'a>(
    cpu: &CpuDevice,
    workspace: &'a mut CpuWorkspace,
    x: &[f32],
    k: usize,
) -> &'a [u32] {
    let rows = x.len() / k;
    let pitch = k.next_multiple_of(2);
    let numbers = Disjoint::new(&mut workspace.numbers.as_mut_slice::<u16>()[..rows * pitch]);
    cpu.for_each_unit(rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        for row in unit * ROWS_PER_UNIT..rows.min((unit + 1) * ROWS_PER_UNIT) {
            // SAFETY: units are ranges of rows that do not overlap.
            let pairs = unsafe { numbers.part(row * pitch..(row + 1) * pitch) };
            cpu.isa.run(PairRow { x: &x[row * k..(row + 1) * k], pairs });
        }
    });
    &workspace.numbers.as_slice()[..rows * pitch / 2]
}

/// One row: `x [k]`, `pairs [k, made even]`.
struct PairRow<'a> {
    x: &'a [f32],
    pairs: &'a mut [u16],
}

impl Task for PairRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (vectors, rest) = self.x.as_chunks::<LANES>();
        let (targets, last) = self.pairs.as_chunks_mut::<LANES>();
        for (vector, target) in vectors.iter().zip(&mut *targets) {
            // SAFETY: both arrays hold sixteen values.
            unsafe { simd.store_bf16(target.as_mut_ptr(), simd.load(vector.as_ptr())) };
        }
        if rest.is_empty() {
            return;
        }
        let (mut padded, mut converted) = ([0.0; LANES], [0; LANES]);
        padded[..rest.len()].copy_from_slice(rest);
        // SAFETY: both arrays hold sixteen values.
        unsafe { simd.store_bf16(converted.as_mut_ptr(), simd.load(padded.as_ptr())) };
        if last.is_empty() {
            // Fifteen left over, made even, are a whole vector.
            targets[vectors.len()] = converted;
        } else {
            last.copy_from_slice(&converted[..last.len()]);
        }
    }
}

/// Rows of i8 with what each block of 32 needs besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantised<'a> {
    /// `[rows, k]`
    pub(super) numbers: &'a [i8],
    /// `[rows, k / 32]`
    pub(super) scales: &'a [f32],
    /// `[rows, k / 32]`: the block's sum times the weight's zero point, negated, as i32; or for a
    /// weight with minima, the block's sum times its scale, as the bits of an f32.
    pub(super) offsets: &'a [i32],
}

/// How a block's sum enters a product.
#[derive(Debug, Clone, Copy)]
enum Offset {
    /// The weight's bytes stand for themselves less this.
    ZeroPoint(i32),
    /// The weight has a minimum of its own in each block.
    Minimum,
}

/// Rounds rows to i8: the largest of a block becomes 127.
pub(super) fn quantise<'a>(
    cpu: &CpuDevice,
    workspace: &'a mut CpuWorkspace,
    x: &[f32],
    k: usize,
    weight_type: WeightType,
) -> Quantised<'a> {
    let (rows, num_blocks) = (x.len() / k, k / QUANT_BLOCK);
    let offset = match weight_type {
        WeightType::Q4_1 => Offset::Minimum,
        WeightType::Q8_0 => Offset::ZeroPoint(128),
        _ => Offset::ZeroPoint(8),
    };
    let numbers = Disjoint::new(&mut workspace.numbers.as_mut_slice::<i8>()[..rows * k]);
    let scales = Disjoint::new(&mut workspace.scales.as_mut_slice::<f32>()[..rows * num_blocks]);
    let offsets = Disjoint::new(&mut workspace.offsets.as_mut_slice::<i32>()[..rows * num_blocks]);
    cpu.for_each_unit(rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        let first = unit * ROWS_PER_UNIT;
        let last = rows.min(first + ROWS_PER_UNIT);
        let blocks = first * num_blocks..last * num_blocks;
        // SAFETY: units are ranges of rows that do not overlap.
        let (numbers, scales, offsets) =
            unsafe { (numbers.part(first * k..last * k), scales.part(blocks.clone()), offsets.part(blocks)) };
        cpu.isa.run(QuantiseRows { x: &x[first * k..last * k], offset, numbers, scales, offsets });
    });
    Quantised {
        numbers: &workspace.numbers.as_slice()[..rows * k],
        scales: &workspace.scales.as_slice()[..rows * num_blocks],
        offsets: &workspace.offsets.as_slice()[..rows * num_blocks],
    }
}

/// Whole rows, seen as blocks of 32: a number and two values for each block.
struct QuantiseRows<'a> {
    x: &'a [f32],
    offset: Offset,
    numbers: &'a mut [i8],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

impl Task for QuantiseRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let blocks = self.x.as_chunks::<QUANT_BLOCK>().0;
        let targets = self.numbers.as_chunks_mut::<QUANT_BLOCK>().0;
        let parts = self.scales.iter_mut().zip(self.offsets);
        for ((block, target), (scale, offset)) in blocks.iter().zip(targets).zip(parts) {
            let sum = quantise_block(simd, block, target, scale);
            *offset = match self.offset {
                Offset::ZeroPoint(zero) => -zero * sum,
                Offset::Minimum => (*scale * sum as f32).to_bits().cast_signed(),
            };
        }
    }
}

/// Rounds one block and returns the sum of its integers.
#[inline(always)]
fn quantise_block<S: Simd>(
    simd: S,
    block: &[f32; QUANT_BLOCK],
    target: &mut [i8; QUANT_BLOCK],
    scale: &mut f32,
) -> i32 {
    // SAFETY: the array holds twice sixteen values.
    let (low, high) = unsafe { (simd.load(block.as_ptr()), simd.load(block.as_ptr().add(LANES))) };
    let zero = simd.splat(0.0);
    let largest_low = simd.max(low, simd.sub(zero, low));
    let largest_high = simd.max(high, simd.sub(zero, high));
    let largest = simd.largest(simd.max(largest_low, largest_high));
    *scale = largest / 127.0;
    let factor = simd.splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
    let (low, high) = (simd.round(simd.mul(low, factor)), simd.round(simd.mul(high, factor)));
    // SAFETY: the array has room for twice sixteen values.
    unsafe {
        simd.store_low_bytes(target.as_mut_ptr(), low);
        simd.store_low_bytes(target.as_mut_ptr().add(LANES), high);
    }
    simd.sum_int(low).wrapping_add(simd.sum_int(high))
}

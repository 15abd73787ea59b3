//! Activations as the products of 16-bit and of quantised weights take them.
//!
//! Each row is converted on its own, so its bits do not depend on the other rows.

use crate::weight::QUANT_BLOCK;
use crate::weight::block::{BlockForm, Offset};

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

/// Rows of i8 with what each block of 32, and each group of 16 or 32, needs besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantised<'a> {
    /// `[rows, k]`
    pub(super) numbers: &'a [i8],
    /// `[rows, k / 32]`
    pub(super) scales: &'a [f32],
    /// `[rows, k / group]`: the group's sum times the weight's zero point, negated, as i32; or for a
    /// weight with minima, the group's sum times its scale, as the bits of an f32.
    pub(super) offsets: &'a [i32],
}

/// Rounds rows to i8: the largest of a block of 32 becomes 127. Groups are those of the weight.
pub(super) fn quantise<'a>(
    cpu: &CpuDevice,
    workspace: &'a mut CpuWorkspace,
    x: &[f32],
    k: usize,
    form: BlockForm,
) -> Quantised<'a> {
    let (rows, num_blocks, num_groups) = (x.len() / k, k / QUANT_BLOCK, k / form.group);
    let numbers = Disjoint::new(&mut workspace.numbers.as_mut_slice::<i8>()[..rows * k]);
    let scales = Disjoint::new(&mut workspace.scales.as_mut_slice::<f32>()[..rows * num_blocks]);
    let offsets = Disjoint::new(&mut workspace.offsets.as_mut_slice::<i32>()[..rows * num_groups]);
    cpu.for_each_unit(rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        let first = unit * ROWS_PER_UNIT;
        let last = rows.min(first + ROWS_PER_UNIT);
        // SAFETY: units are ranges of rows that do not overlap.
        let (numbers, scales, offsets) = unsafe {
            (
                numbers.part(first * k..last * k),
                scales.part(first * num_blocks..last * num_blocks),
                offsets.part(first * num_groups..last * num_groups),
            )
        };
        cpu.isa.run(QuantiseRows { x: &x[first * k..last * k], form, numbers, scales, offsets });
    });
    Quantised {
        numbers: &workspace.numbers.as_slice()[..rows * k],
        scales: &workspace.scales.as_slice()[..rows * num_blocks],
        offsets: &workspace.offsets.as_slice()[..rows * num_groups],
    }
}

/// Whole rows, seen as blocks of 32: 32 numbers, a scale, and one or two offsets for each block.
struct QuantiseRows<'a> {
    x: &'a [f32],
    form: BlockForm,
    numbers: &'a mut [i8],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

impl Task for QuantiseRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let offset = |sum: i32, scale: f32| match self.form.offset {
            Offset::ZeroPoint(zero) => -i32::from(zero) * sum,
            Offset::Minimum => (scale * sum as f32).to_bits().cast_signed(),
        };
        let blocks = self.x.as_chunks::<QUANT_BLOCK>().0;
        let targets = self.numbers.as_chunks_mut::<QUANT_BLOCK>().0;
        let offsets = self.offsets.chunks_exact_mut(QUANT_BLOCK / self.form.group);
        for (((block, target), scale), offsets) in blocks.iter().zip(targets).zip(self.scales).zip(offsets) {
            let [first, second] = quantise_block(simd, block, target, scale);
            match offsets {
                [both] => *both = offset(first.wrapping_add(second), *scale),
                [one, other] => (*one, *other) = (offset(first, *scale), offset(second, *scale)),
                _ => unreachable!("a group is a block of 32 or half of one"),
            }
        }
    }
}

/// Rounds one block and returns the sums of the integers of its halves.
#[inline(always)]
fn quantise_block<S: Simd>(
    simd: S,
    block: &[f32; QUANT_BLOCK],
    target: &mut [i8; QUANT_BLOCK],
    scale: &mut f32,
) -> [i32; 2] {
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
    [simd.sum_int(low), simd.sum_int(high)]
}

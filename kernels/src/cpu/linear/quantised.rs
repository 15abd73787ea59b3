//! Tiles of quantised weights with activations in i8: one kernel for all types, by their forms.
//!
//! The integer sums of a group are exact, so any instruction gives the same. Then, in ascending order of
//! groups, `sum += (scale_w * scale_x) * integers`, and for types with minima
//! `sum += minimum_w * sum_x`. Where groups have integer scales, `scale_w` is the block's scale times
//! these, which f32 holds exactly.

#![expect(
    clippy::needless_range_loop,
    reason = "loops of fixed length over several arrays of registers, which must unroll"
)]

use crate::weight::block::{BlockForm, Offset};
use crate::weight::{QUANT_BLOCK, WeightType};

use super::super::isa::Extension;
use super::super::simd::{LANES, Simd};
use super::super::weight::{PanelLayout, VECTOR_BYTES};
use super::inputs::Quantised;
use super::{PREFETCH_BYTES, Panels};

/// Quads of a block of 32.
const QUADS: usize = 8;
/// Most groups of a block of 32.
const MAX_GROUPS: usize = 2;
/// Blocks of 32 in a block of 256.
const LARGE_BLOCK: usize = 8;

/// Weights of type number `TYPE`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPanels<'a, const TYPE: usize> {
    layout: PanelLayout,
    panels: &'a [u8],
    inputs: Quantised<'a>,
}

impl<'a, const TYPE: usize> BlockPanels<'a, TYPE> {
    /// What the type's blocks are.
    pub(super) const FORM: BlockForm =
        BlockForm::of(WeightType::ALL[TYPE]).expect("only quantised types have block panels");
    /// Groups in a block of 32.
    const GROUPS: usize = QUANT_BLOCK / Self::FORM.group;
    /// Quads of a group.
    const GROUP_QUADS: usize = QUADS / Self::GROUPS;
    /// Cache lines of a panel for each block of 32.
    const LINES: usize = {
        let [lower, upper] = Self::FORM.code_bits;
        let scale_bytes = if Self::FORM.has_group_scales() { Self::GROUPS * LANES + 4 } else { 2 * LANES };
        let scale_bytes = if Self::FORM.has_minima() { 2 * scale_bytes } else { scale_bytes };
        ((lower + upper) * VECTOR_BYTES + scale_bytes).div_ceil(64)
    };

    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], inputs: Quantised<'a>) -> Self {
        Self { layout, panels, inputs }
    }

    /// The codes of quad `quad` of block `block` in all lanes.
    ///
    /// # Safety
    ///
    /// `panel` must be a panel of this layout that has the block.
    #[inline(always)]
    unsafe fn codes<S: Simd>(self, simd: S, panel: *const u8, block: usize, quad: usize) -> S::Bytes {
        let [lower, upper] = const { Self::FORM.code_bits };
        // SAFETY: the caller vouches for the panel.
        let low = unsafe { load_vector(simd, panel, (block, quad), lower) };
        if lower == 8 {
            return low;
        }
        let low = simd.bit_field(low, shift(quad, lower), mask(lower));
        if upper == 0 {
            return low;
        }
        // SAFETY: as above; the plane of upper bits begins there.
        let high =
            unsafe { load_vector(simd, panel.add(self.layout.planes.upper_bits), (block, quad), upper) };
        simd.or(low, simd.bit_field(high, shift(quad, upper) - lower as i32, mask(upper) << lower))
    }

    /// What group `group` of block `block` is scaled by, in all lanes, or its minimum: a plane of groups
    /// and one of blocks belong to each.
    ///
    /// # Safety
    ///
    /// `panel` must be a panel of this layout that has the block, and the planes must be two of its.
    #[inline(always)]
    unsafe fn factor<S: Simd>(
        simd: S,
        panel: *const u8,
        (plane, block_plane): (usize, usize),
        (block, group): (usize, usize),
    ) -> S::Floats {
        let groups = (block * Self::GROUPS + group) * LANES;
        // SAFETY: the caller vouches for the panel; the planes have sixteen values for each group and
        // each block of 256.
        unsafe {
            if const { Self::FORM.has_group_scales() } {
                let blocks = block / LARGE_BLOCK * LANES;
                let shared = simd.load_f16(panel.add(block_plane + blocks * 2).cast());
                simd.mul(shared, simd.load_i8(panel.add(plane + groups).cast()))
            } else {
                simd.load_f16(panel.add(plane + groups * 2).cast())
            }
        }
    }
}

/// The vector with the bits of quad `quad` of block `block` in a plane of `bits` bits.
///
/// # Safety
///
/// There must be such a plane at `plane`, with that block.
#[inline(always)]
unsafe fn load_vector<S: Simd>(
    simd: S,
    plane: *const u8,
    (block, quad): (usize, usize),
    bits: usize,
) -> S::Bytes {
    // SAFETY: the caller vouches for the plane; a block has `bits` vectors in it.
    unsafe { simd.load_bytes(plane.add((block * bits + quad % bits) * VECTOR_BYTES)) }
}

/// The place of a quad's bits in each byte of its vector.
#[inline(always)]
fn shift(quad: usize, bits: usize) -> i32 {
    (quad / bits * bits) as i32
}

/// The lowest `bits` bits.
#[inline(always)]
fn mask(bits: usize) -> u8 {
    ((1_u32 << bits) - 1) as u8
}

impl<const TYPE: usize> Panels for BlockPanels<'_, TYPE> {
    const EXTENSION: Extension = Extension::Bytes;
    const PAIRED: bool = false;

    // All arrays of registers stay within this function: handed to another, they would go through memory.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let layout = self.layout;
        let planes = layout.planes;
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of the inputs and for panels
        // `panel..panel + P`, each with `k / 32` blocks at the layout's places.
        unsafe {
            for block in 0..layout.k / QUANT_BLOCK {
                for p in 0..P {
                    let panel = self.panels.as_ptr().add((panel + p) * layout.panel_bytes);
                    prefetch_lines(simd, panel.wrapping_add(block * Self::LINES * 64), Self::LINES);
                    let inputs = BlockInputs::new(&self.inputs, row, block, layout.k, Self::GROUPS);
                    let mut integers = [[simd.splat_int(0); R]; MAX_GROUPS];
                    if let Offset::ZeroPoint(_) = const { Self::FORM.offset } {
                        for group in 0..Self::GROUPS {
                            for r in 0..R {
                                integers[group][r] = simd.splat_int(inputs.offset(r, group));
                            }
                        }
                    }
                    // A loop would be too long for the compiler to unroll, and then every shift would be
                    // computed and every sum go through memory.
                    macro_rules! add_quads {
                        ($($quad:literal)*) => {$(
                            let codes = self.codes(simd, panel, block, $quad);
                            for r in 0..R {
                                let sum = integers[$quad / Self::GROUP_QUADS][r];
                                let four = inputs.four(r, $quad);
                                integers[$quad / Self::GROUP_QUADS][r] =
                                    if const { Self::FORM.code_bits[0] == 8 } {
                                        simd.dot_bytes(sum, codes, four)
                                    } else {
                                        simd.dot_codes(sum, codes, four)
                                    };
                            }
                        )*};
                    }
                    add_quads!(0 1 2 3 4 5 6 7);
                    for group in 0..Self::GROUPS {
                        let place = (planes.scales, planes.block_scales);
                        let scales = Self::factor(simd, panel, place, (block, group));
                        for r in 0..R {
                            let scales = simd.mul(scales, simd.splat(inputs.scale(r)));
                            sums[r][p] = simd.fma(simd.to_floats(integers[group][r]), scales, sums[r][p]);
                        }
                        if const { Self::FORM.has_minima() } {
                            let place = (planes.minima, planes.block_minima);
                            let minima = Self::factor(simd, panel, place, (block, group));
                            for r in 0..R {
                                let sum = f32::from_bits(inputs.offset(r, group).cast_unsigned());
                                sums[r][p] = simd.fma(minima, simd.splat(sum), sums[r][p]);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

/// One block of some rows of inputs.
#[derive(Clone, Copy)]
struct BlockInputs {
    numbers: *const i32,
    scales: *const f32,
    offsets: *const i32,
    row_quads: usize,
    row_blocks: usize,
    groups: usize,
}

impl BlockInputs {
    /// Block `block` of the rows from `row` on.
    ///
    /// # Safety
    ///
    /// That row must exist and have that block; so must every row that is read.
    #[inline(always)]
    unsafe fn new(inputs: &Quantised<'_>, row: usize, block: usize, k: usize, groups: usize) -> Self {
        let (row_quads, row_blocks) = (k / 4, k / QUANT_BLOCK);
        let place = row * row_blocks + block;
        // SAFETY: the caller vouches for the row and the block.
        unsafe {
            Self {
                numbers: inputs.numbers.as_ptr().add(place * QUANT_BLOCK).cast(),
                scales: inputs.scales.as_ptr().add(place),
                offsets: inputs.offsets.as_ptr().add(place * groups),
                row_quads,
                row_blocks,
                groups,
            }
        }
    }

    /// Numbers `4 quad..4 quad + 4` of row `r`.
    ///
    /// # Safety
    ///
    /// The row must be one that the maker of `self` vouched for, and `quad` below eight.
    #[inline(always)]
    unsafe fn four(self, r: usize, quad: usize) -> i32 {
        // SAFETY: `new`'s caller vouches for the row; a block has eight quads.
        unsafe { *self.numbers.add(r * self.row_quads + quad) }
    }

    /// The scale of row `r`.
    ///
    /// # Safety
    ///
    /// The row must be one that the maker of `self` vouched for.
    #[inline(always)]
    unsafe fn scale(self, r: usize) -> f32 {
        // SAFETY: `new`'s caller vouches for the row.
        unsafe { *self.scales.add(r * self.row_blocks) }
    }

    /// The offset of group `group` of row `r`.
    ///
    /// # Safety
    ///
    /// The row must be one that the maker of `self` vouched for, and `group` one of a block's.
    #[inline(always)]
    unsafe fn offset(self, r: usize, group: usize) -> i32 {
        // SAFETY: `new`'s caller vouches for the row; a block has `groups` groups.
        unsafe { *self.offsets.add(r * self.row_blocks * self.groups + group) }
    }
}

/// Asks for cache lines that tiles will read later.
#[inline(always)]
fn prefetch_lines<S: Simd>(simd: S, now: *const u8, count: usize) {
    for line in 0..count {
        simd.prefetch(now.wrapping_add(PREFETCH_BYTES + line * 64));
    }
}

//! Tiles of `Q4_0`, `Q4_1` and `Q8_0` weights with activations in i8.
//!
//! The integer sums of a block are exact, so any instruction gives the same. Then, in ascending order
//! of blocks, `sum += (scale_w * scale_x) * integers`, and for `Q4_1` `sum += minimum_w * sum_x`.

#![expect(
    clippy::needless_range_loop,
    reason = "loops of fixed length over several arrays of registers, which must unroll"
)]

use crate::weight::QUANT_BLOCK;

use super::super::isa::Extension;
use super::super::simd::{LANES, Simd};
use super::super::weight::PanelLayout;
use super::inputs::Quantised;
use super::{PREFETCH_BYTES, Panels};

/// Weights of four bits: `Q4_1` if `MINIMUM`, else `Q4_0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct NibblePanels<'a, const MINIMUM: bool> {
    layout: PanelLayout,
    panels: &'a [u8],
    inputs: Quantised<'a>,
}

/// Weights of eight bits: `Q8_0`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BytePanels<'a> {
    layout: PanelLayout,
    panels: &'a [u8],
    inputs: Quantised<'a>,
}

impl<'a, const MINIMUM: bool> NibblePanels<'a, MINIMUM> {
    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], inputs: Quantised<'a>) -> Self {
        Self { layout, panels, inputs }
    }
}

impl<'a> BytePanels<'a> {
    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], inputs: Quantised<'a>) -> Self {
        Self { layout, panels, inputs }
    }
}

impl<const MINIMUM: bool> Panels for NibblePanels<'_, MINIMUM> {
    const EXTENSION: Extension = Extension::Bytes;
    const PAIRED: bool = false;

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let layout = self.layout;
        let num_blocks = layout.k / QUANT_BLOCK;
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of the inputs and for panels
        // `panel..panel + P`, each with `num_blocks` blocks at the layout's places.
        unsafe {
            for block in 0..num_blocks {
                for p in 0..P {
                    let panel = self.panels.as_ptr().add((panel + p) * layout.panel_bytes);
                    prefetch_block::<S, 5>(simd, panel.wrapping_add(block * 5 * 64));
                    let inputs = BlockInputs::new(&self.inputs, row, block, layout.k);
                    let mut integers = [simd.splat_int(0); R];
                    if !MINIMUM {
                        for r in 0..R {
                            integers[r] = simd.splat_int(inputs.offset(r));
                        }
                    }
                    for quad in 0..4 {
                        let bytes = simd.load_bytes(panel.add((block * 4 + quad) * 64));
                        let (low, high) = (simd.low_nibbles(bytes), simd.high_nibbles(bytes));
                        for r in 0..R {
                            integers[r] = simd.dot_nibbles(integers[r], low, inputs.four(r, quad));
                            integers[r] = simd.dot_nibbles(integers[r], high, inputs.four(r, quad + 4));
                        }
                    }
                    let halves = block * LANES * 2;
                    let scales = simd.load_f16(panel.add(layout.number_bytes + halves).cast());
                    for r in 0..R {
                        let scales = simd.mul(scales, simd.splat(inputs.scale(r)));
                        sums[r][p] = simd.fma(simd.to_floats(integers[r]), scales, sums[r][p]);
                    }
                    if MINIMUM {
                        let minima = simd.load_f16(panel.add(layout.min_offset() + halves).cast());
                        for r in 0..R {
                            let sum = f32::from_bits(inputs.offset(r).cast_unsigned());
                            sums[r][p] = simd.fma(minima, simd.splat(sum), sums[r][p]);
                        }
                    }
                }
            }
        }
        sums
    }
}

impl Panels for BytePanels<'_> {
    const EXTENSION: Extension = Extension::Bytes;
    const PAIRED: bool = false;

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let layout = self.layout;
        let num_blocks = layout.k / QUANT_BLOCK;
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of the inputs and for panels
        // `panel..panel + P`, each with `num_blocks` blocks at the layout's places.
        unsafe {
            for block in 0..num_blocks {
                for p in 0..P {
                    let panel = self.panels.as_ptr().add((panel + p) * layout.panel_bytes);
                    prefetch_block::<S, 9>(simd, panel.wrapping_add(block * 17 * 32));
                    let inputs = BlockInputs::new(&self.inputs, row, block, layout.k);
                    let mut integers = [simd.splat_int(0); R];
                    for r in 0..R {
                        integers[r] = simd.splat_int(inputs.offset(r));
                    }
                    for quad in 0..8 {
                        let bytes = simd.load_bytes(panel.add((block * 8 + quad) * 64));
                        for r in 0..R {
                            integers[r] = simd.dot_bytes(integers[r], bytes, inputs.four(r, quad));
                        }
                    }
                    let scales = simd.load_f16(panel.add(layout.number_bytes + block * LANES * 2).cast());
                    for r in 0..R {
                        let scales = simd.mul(scales, simd.splat(inputs.scale(r)));
                        sums[r][p] = simd.fma(simd.to_floats(integers[r]), scales, sums[r][p]);
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
}

impl BlockInputs {
    /// Block `block` of the rows from `row` on.
    ///
    /// # Safety
    ///
    /// That row must exist and have that block; so must every row that is read.
    #[inline(always)]
    unsafe fn new(inputs: &Quantised<'_>, row: usize, block: usize, k: usize) -> Self {
        let (row_quads, row_blocks) = (k / 4, k / QUANT_BLOCK);
        let place = row * row_blocks + block;
        // SAFETY: the caller vouches for the row and the block.
        unsafe {
            Self {
                numbers: inputs.numbers.as_ptr().add(place * QUANT_BLOCK).cast(),
                scales: inputs.scales.as_ptr().add(place),
                offsets: inputs.offsets.as_ptr().add(place),
                row_quads,
                row_blocks,
            }
        }
    }

    /// Numbers `4 quad..4 quad + 4` of row `r`.
    #[inline(always)]
    unsafe fn four(self, r: usize, quad: usize) -> i32 {
        // SAFETY: `new`'s caller vouches for the row; a block has eight quads.
        unsafe { *self.numbers.add(r * self.row_quads + quad) }
    }

    /// The scale of row `r`.
    #[inline(always)]
    unsafe fn scale(self, r: usize) -> f32 {
        // SAFETY: `new`'s caller vouches for the row.
        unsafe { *self.scales.add(r * self.row_blocks) }
    }

    /// The offset of row `r`.
    #[inline(always)]
    unsafe fn offset(self, r: usize) -> i32 {
        // SAFETY: `new`'s caller vouches for the row.
        unsafe { *self.offsets.add(r * self.row_blocks) }
    }
}

/// Asks for `N` cache lines that tiles will read later.
#[inline(always)]
fn prefetch_block<S: Simd, const N: usize>(simd: S, now: *const u8) {
    for line in 0..N {
        simd.prefetch(now.wrapping_add(PREFETCH_BYTES + line * 64));
    }
}

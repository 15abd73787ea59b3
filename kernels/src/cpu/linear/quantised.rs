//! Tiles of `Q4_0`, `Q4_1` and `Q8_0` weights with activations in i8.
//!
//! The integer sums of a block are exact, so any instruction gives the same. Then, in ascending order
//! of blocks, `sum += (scale_w * scale_x) * integers`, and for `Q4_1` `sum += minimum_w * sum_x`.

#![expect(
    clippy::needless_range_loop,
    reason = "loops of fixed length over several arrays of registers, which must unroll"
)]
#![expect(clippy::cast_ptr_alignment, reason = "panels begin at cache lines, blocks of inputs at 32 bytes")]

use crate::weight::QUANT_BLOCK;

use super::super::isa::Extension;
use super::super::simd::{LANES, Simd};
use super::super::weight::PanelLayout;
use super::Panels;
use super::inputs::Quantised;

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
    const MANY_ROW_PANELS: usize = 1;

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
            let panels = self.panels.as_ptr().add(panel * layout.panel_bytes);
            let inputs = self.inputs.numbers.as_ptr().add(row * layout.k);
            for block in 0..num_blocks {
                for p in 0..P {
                    let panel = panels.add(p * layout.panel_bytes);
                    let halves = block * LANES * 2;
                    let weight_scales = simd.load_f16(panel.add(layout.number_bytes + halves).cast());
                    let quads = load_quads::<S, 4>(simd, panel.add(block * 4 * 64));
                    let (mut low, mut high) = (quads, quads);
                    for quad in 0..4 {
                        low[quad] = simd.low_nibbles(quads[quad]);
                        high[quad] = simd.high_nibbles(quads[quad]);
                    }
                    for r in 0..R {
                        let place = (row + r) * num_blocks + block;
                        let offset = *self.inputs.offsets.as_ptr().add(place);
                        let scale = simd.splat(*self.inputs.scales.as_ptr().add(place));
                        let x = inputs.add(r * layout.k + block * QUANT_BLOCK).cast::<i32>();
                        let mut integers = simd.splat_int(if MINIMUM { 0 } else { offset });
                        for quad in 0..4 {
                            let (first, second) = (*x.add(quad), *x.add(quad + 4));
                            integers = simd.dot_nibbles(integers, low[quad], first);
                            integers = simd.dot_nibbles(integers, high[quad], second);
                        }
                        let scales = simd.mul(weight_scales, scale);
                        sums[r][p] = simd.fma(simd.to_floats(integers), scales, sums[r][p]);
                        if MINIMUM {
                            let minima = simd.load_f16(panel.add(layout.min_offset() + halves).cast());
                            let offset = f32::from_bits(offset.cast_unsigned());
                            sums[r][p] = simd.fma(minima, simd.splat(offset), sums[r][p]);
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
    const MANY_ROW_PANELS: usize = 1;

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
            let panels = self.panels.as_ptr().add(panel * layout.panel_bytes);
            let inputs = self.inputs.numbers.as_ptr().add(row * layout.k);
            for block in 0..num_blocks {
                for p in 0..P {
                    let panel = panels.add(p * layout.panel_bytes);
                    let halves = block * LANES * 2;
                    let weight_scales = simd.load_f16(panel.add(layout.number_bytes + halves).cast());
                    let quads = load_quads::<S, 8>(simd, panel.add(block * 8 * 64));
                    for r in 0..R {
                        let place = (row + r) * num_blocks + block;
                        let scale = simd.splat(*self.inputs.scales.as_ptr().add(place));
                        let x = inputs.add(r * layout.k + block * QUANT_BLOCK).cast::<i32>();
                        let mut integers = simd.splat_int(*self.inputs.offsets.as_ptr().add(place));
                        for (quad, &bytes) in quads.iter().enumerate() {
                            integers = simd.dot_bytes(integers, bytes, *x.add(quad));
                        }
                        let scales = simd.mul(weight_scales, scale);
                        sums[r][p] = simd.fma(simd.to_floats(integers), scales, sums[r][p]);
                    }
                }
            }
        }
        sums
    }
}

/// Consecutive vectors of bytes. A plain loop: closures are not sure to become part of the caller.
///
/// # Safety
///
/// `from..from + 64 * N` must be readable.
#[inline(always)]
unsafe fn load_quads<S: Simd, const N: usize>(simd: S, from: *const u8) -> [S::Bytes; N] {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        let mut quads = [simd.load_bytes(from); N];
        for (index, quad) in quads.iter_mut().enumerate() {
            *quad = simd.load_bytes(from.add(index * 64));
        }
        quads
    }
}

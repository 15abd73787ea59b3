//! Tiles of f32, f16 and bf16 weights.

#![expect(
    clippy::needless_range_loop,
    reason = "loops of fixed length over several arrays of registers, which must unroll"
)]
#![expect(clippy::cast_ptr_alignment, reason = "panels begin at cache lines, numbers at their size")]

use super::super::isa::Extension;
use super::super::simd::{LANES, Simd};
use super::super::weight::PanelLayout;
use super::{PREFETCH_BYTES, Panels};

/// Weights in f32, activations in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct F32Panels<'a> {
    layout: PanelLayout,
    panels: &'a [u8],
    /// `[rows, k]`
    x: &'a [f32],
}

/// Weights in f16, widened as they are read; activations in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct F16Panels<'a> {
    layout: PanelLayout,
    panels: &'a [u8],
    /// `[rows, k]`
    x: &'a [f32],
}

/// Weights and activations in bf16, two along `k` at once; sums in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairPanels<'a> {
    layout: PanelLayout,
    panels: &'a [u8],
    /// `[rows, ceil(k / 2)]`
    pairs: &'a [u32],
}

impl<'a> F32Panels<'a> {
    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], x: &'a [f32]) -> Self {
        Self { layout, panels, x }
    }
}

impl<'a> F16Panels<'a> {
    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], x: &'a [f32]) -> Self {
        Self { layout, panels, x }
    }
}

impl<'a> PairPanels<'a> {
    pub(super) fn new(layout: PanelLayout, panels: &'a [u8], pairs: &'a [u32]) -> Self {
        Self { layout, panels, pairs }
    }
}

impl Panels for F32Panels<'_> {
    const EXTENSION: Extension = Extension::None;
    const PAIRED: bool = true;

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let k = self.layout.k;
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of `[rows, k]` and for panels
        // `panel..panel + P`, each of `k * 16` f32.
        unsafe {
            let x = self.x.as_ptr().add(row * k);
            let weights = self.panels.as_ptr().add(panel * self.layout.panel_bytes);
            for index in 0..k {
                for p in 0..P {
                    let at = weights.add(p * self.layout.panel_bytes).cast::<f32>().add(index * LANES);
                    simd.prefetch(at.cast::<u8>().wrapping_add(PREFETCH_BYTES));
                    let weight = simd.load(at);
                    for r in 0..R {
                        sums[r][p] = simd.fma(weight, simd.splat(*x.add(r * k + index)), sums[r][p]);
                    }
                }
            }
        }
        sums
    }
}

impl Panels for F16Panels<'_> {
    const EXTENSION: Extension = Extension::None;
    const PAIRED: bool = true;

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let k = self.layout.k;
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of `[rows, k]` and for panels
        // `panel..panel + P`, each of `k * 16` f16.
        unsafe {
            let x = self.x.as_ptr().add(row * k);
            let weights = self.panels.as_ptr().add(panel * self.layout.panel_bytes);
            for index in 0..k {
                for p in 0..P {
                    let at = weights.add(p * self.layout.panel_bytes).cast::<u16>().add(index * LANES);
                    simd.prefetch(at.cast::<u8>().wrapping_add(PREFETCH_BYTES));
                    let weight = simd.load_f16(at);
                    for r in 0..R {
                        sums[r][p] = simd.fma(weight, simd.splat(*x.add(r * k + index)), sums[r][p]);
                    }
                }
            }
        }
        sums
    }
}

impl Panels for PairPanels<'_> {
    const EXTENSION: Extension = Extension::Pairs;
    const PAIRED: bool = true;

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R] {
        let num_pairs = self.layout.k.div_ceil(2);
        let mut sums = [[simd.splat(0.0); P]; R];
        // SAFETY: the caller vouches for rows `row..row + R` of `[rows, num_pairs]` and for panels
        // `panel..panel + P`, each of `num_pairs * 16` pairs of bf16.
        unsafe {
            let pairs = self.pairs.as_ptr().add(row * num_pairs);
            let weights = self.panels.as_ptr().add(panel * self.layout.panel_bytes);
            for index in 0..num_pairs {
                for p in 0..P {
                    let at = weights.add(p * self.layout.panel_bytes + index * LANES * 4);
                    simd.prefetch(at.wrapping_add(PREFETCH_BYTES));
                    let weight = simd.load_bytes(at);
                    for r in 0..R {
                        let inputs = *pairs.add(r * num_pairs + index);
                        sums[r][p] = simd.dot_pairs(sums[r][p], weight, inputs);
                    }
                }
            }
        }
        sums
    }
}

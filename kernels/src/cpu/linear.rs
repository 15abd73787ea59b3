//! Products with packed weights: `out [rows, n] = x [rows, k] * W^T + bias`.
//!
//! A tile is a few rows by a few panels. Each output element is one lane of an accumulator and sums
//! `k` upwards in one chain, so it is the same whatever the tile's size, the step's other rows and the
//! number of threads; a tile only shares loads.
//!
//! Quantised weights: activations are rounded to i8 with a scale for each row and block of 32; the
//! integer sums of a block are exact, and blocks are added in f32.

use crate::error::KernelError;
use crate::weight::WeightType;

use super::disjoint::Disjoint;
use super::isa::{Extension, Task};
use super::simd::{LANES, Simd};
use super::{CpuDevice, CpuWeight, CpuWorkspace};

mod float;
mod inputs;
mod quantised;

use float::{F16Panels, F32Panels, PairPanels};
use inputs::{convert_to_pairs, quantise};
use quantised::{BytePanels, NibblePanels};

/// How far ahead of its loads a tile asks for weights: the hardware alone does not look far enough
/// while a tile of many rows computes.
const PREFETCH_BYTES: usize = 4096;
/// Panels in a unit are a multiple of this, so that units of two threads share few cache lines of `out`.
const PANEL_STEP: usize = 4;
/// Bytes of activations that a unit goes over again and again: half of a small second-level cache.
const UNIT_INPUT_BYTES: usize = 256 << 10;
/// Units for each thread, so that one that is held up does not hold up all.
const UNITS_PER_THREAD: usize = 6;

/// The panels of a weight and the converted activations, as one kind of product sees them.
trait Panels: Copy + Sync {
    /// The instruction that tiles gain from.
    const EXTENSION: Extension;
    /// Whether a tile of many rows gains from two panels at once, if there are registers for them.
    const PAIRED: bool;

    /// Sums of rows `row..row + R` with panels `panel..panel + P`.
    ///
    /// # Safety
    ///
    /// These rows and panels must exist.
    unsafe fn tile<S: Simd, const R: usize, const P: usize>(
        self,
        simd: S,
        row: usize,
        panel: usize,
    ) -> [[S::Floats; P]; R];
}

/// What a product reads.
#[derive(Clone, Copy)]
pub(crate) struct LinearInputs<'a> {
    /// `[rows, k]`
    pub(crate) x: &'a [f32],
    /// `[n, k]`
    pub(crate) weight: &'a CpuWeight,
    /// `[n]`
    pub(crate) bias: Option<&'a [f32]>,
}

/// Computes the product; the op has checked all shapes.
pub(crate) fn linear(
    cpu: &CpuDevice,
    workspace: &mut CpuWorkspace,
    inputs: LinearInputs<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let LinearInputs { x, weight, bias } = inputs;
    let layout = weight.layout();
    let rows = x.len() / layout.k;
    let product = Product { cpu, rows, n: weight.n(), row_bytes: 4 * layout.k, bias };
    let panels = weight.panels();
    match layout.weight_type {
        WeightType::F32 => product.run(F32Panels::new(layout, panels, x), out),
        WeightType::F16 => product.run(F16Panels::new(layout, panels, x), out),
        WeightType::BF16 => {
            workspace.expect_fits(rows, layout.k)?;
            let pairs = convert_to_pairs(cpu, workspace, x, layout.k);
            product.run(PairPanels::new(layout, panels, pairs), out);
        }
        WeightType::Q4_0 => {
            workspace.expect_fits(rows, layout.k)?;
            let inputs = quantise(cpu, workspace, x, layout.k, WeightType::Q4_0);
            product.run(NibblePanels::<false>::new(layout, panels, inputs), out);
        }
        WeightType::Q4_1 => {
            workspace.expect_fits(rows, layout.k)?;
            let inputs = quantise(cpu, workspace, x, layout.k, WeightType::Q4_1);
            product.run(NibblePanels::<true>::new(layout, panels, inputs), out);
        }
        WeightType::Q8_0 => {
            workspace.expect_fits(rows, layout.k)?;
            let inputs = quantise(cpu, workspace, x, layout.k, WeightType::Q8_0);
            product.run(BytePanels::new(layout, panels, inputs), out);
        }
        other => unreachable!("{other} is packed as a float"),
    }
    Ok(())
}

/// The shape of one product, and how it is cut into units.
struct Product<'a> {
    cpu: &'a CpuDevice,
    rows: usize,
    n: usize,
    /// Bytes of a row of `x`, for the choice of a unit's size.
    row_bytes: usize,
    bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Cuts the product into units of some rows by some panels, and runs them.
    fn run<K: Panels>(&self, panels: K, out: &mut [f32]) {
        let num_panels = self.n.div_ceil(LANES);
        let unit_rows = (UNIT_INPUT_BYTES / self.row_bytes).next_multiple_of(16).min(self.rows.max(1));
        let num_row_units = self.rows.div_ceil(unit_rows);
        let wanted_units = self.cpu.num_threads() * UNITS_PER_THREAD;
        let unit_panels =
            (num_panels * num_row_units).div_ceil(wanted_units).next_multiple_of(PANEL_STEP).min(num_panels);
        let num_panel_units = num_panels.div_ceil(unit_panels);
        let out = Disjoint::new(out);
        self.cpu.for_each_unit(num_row_units * num_panel_units, &|_, unit| {
            let first_row = unit / num_panel_units * unit_rows;
            let first_panel = unit % num_panel_units * unit_panels;
            self.cpu.isa.run(Unit {
                panels,
                rows: (first_row, self.rows.min(first_row + unit_rows)),
                panel_range: (first_panel, num_panels.min(first_panel + unit_panels)),
                n: self.n,
                bias: self.bias,
                out: &out,
            });
        });
    }
}

/// Some rows by some panels.
struct Unit<'a, K> {
    panels: K,
    rows: (usize, usize),
    panel_range: (usize, usize),
    n: usize,
    bias: Option<&'a [f32]>,
    /// `[rows, n]`; this unit writes its own rows and columns only.
    out: &'a Disjoint<'a, f32>,
}

impl<K: Panels> Task for Unit<'_, K> {
    const EXTENSION: Extension = K::EXTENSION;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mut panel, last) = self.panel_range;
        if S::TALL_TILES && K::PAIRED && self.rows.1 - self.rows.0 >= 4 {
            while last - panel >= 2 {
                self.rows_of_panels::<S, 2>(simd, panel);
                panel += 2;
            }
        }
        while panel < last {
            self.rows_of_panels::<S, 1>(simd, panel);
            panel += 1;
        }
    }
}

impl<K: Panels> Unit<'_, K> {
    /// All rows of the unit with `P` panels, in the tallest tiles first.
    #[inline(always)]
    fn rows_of_panels<S: Simd, const P: usize>(&self, simd: S, panel: usize) {
        let (mut row, last) = self.rows;
        if S::TALL_TILES && (P == 2 || !K::PAIRED) {
            while last - row >= 8 {
                self.tile::<S, 8, P>(simd, row, panel);
                row += 8;
            }
        }
        while last - row >= 4 {
            self.tile::<S, 4, P>(simd, row, panel);
            row += 4;
        }
        while row < last {
            self.tile::<S, 1, P>(simd, row, panel);
            row += 1;
        }
    }

    /// One tile, with its bias, written to its place.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const P: usize>(&self, simd: S, row: usize, panel: usize) {
        // SAFETY: rows and panels of a unit exist; `Product::run` cut them so.
        let sums = unsafe { self.panels.tile::<S, R, P>(simd, row, panel) };
        for (row_idx, sums) in sums.iter().enumerate() {
            for (panel_idx, &sum) in sums.iter().enumerate() {
                let column = (panel + panel_idx) * LANES;
                let width = LANES.min(self.n - column);
                let mut sum = sum;
                if let Some(bias) = self.bias {
                    let mut padded = [0.0; LANES];
                    padded[..width].copy_from_slice(&bias[column..column + width]);
                    // SAFETY: the array holds sixteen values.
                    sum = simd.add(sum, unsafe { simd.load(padded.as_ptr()) });
                }
                let start = (row + row_idx) * self.n + column;
                // SAFETY: units write apart: this tile's rows and columns are its own.
                let target = unsafe { self.out.part(start..start + width) };
                store_first(simd, target, sum);
            }
        }
    }
}

/// Writes the first lanes of `value`, as many as `target` takes.
#[inline(always)]
fn store_first<S: Simd>(simd: S, target: &mut [f32], value: S::Floats) {
    if target.len() == LANES {
        // SAFETY: there is room for sixteen values.
        unsafe { simd.store(target.as_mut_ptr(), value) };
    } else {
        let mut padded = [0.0; LANES];
        // SAFETY: the array holds sixteen values.
        unsafe { simd.store(padded.as_mut_ptr(), value) };
        target.copy_from_slice(&padded[..target.len()]);
    }
}

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
use super::weight::WeightPart;
use super::{CpuDevice, CpuWeight, CpuWorkspace};

mod float;
mod inputs;
mod quantised;

use float::{F16Panels, F32Panels, PairPanels};
use inputs::{convert_to_pairs, quantise};
use quantised::BlockPanels;

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
    let rows = x.len() / weight.k();
    if weight.parts().iter().any(|part| converts_inputs(part.layout().weight_type)) {
        workspace.expect_fits(rows, weight.k())?;
    }
    for part in weight.parts() {
        let columns = part.first_row()..part.first_row() + part.n();
        let bias = bias.map(|bias| &bias[columns]);
        let product = Product { cpu, x, rows, part, pitch: weight.n(), bias };
        product.compute(workspace, out);
    }
    Ok(())
}

/// Whether products of this type need room for converted activations.
fn converts_inputs(weight_type: WeightType) -> bool {
    !matches!(weight_type, WeightType::F32 | WeightType::F16)
}

/// One part's product, and how it is cut into units.
struct Product<'a> {
    cpu: &'a CpuDevice,
    /// `[rows, k]`
    x: &'a [f32],
    rows: usize,
    part: &'a WeightPart,
    /// Columns of `out`, those of other parts included.
    pitch: usize,
    /// Of this part's columns.
    bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Computes this part's columns of `out`.
    fn compute(&self, workspace: &mut CpuWorkspace, out: &mut [f32]) {
        let (layout, panels, x) = (self.part.layout(), self.part.panels(), self.x);
        match layout.weight_type {
            WeightType::F32 => self.run(F32Panels::new(layout, panels, x), out),
            WeightType::F16 => self.run(F16Panels::new(layout, panels, x), out),
            WeightType::BF16 => {
                let pairs = convert_to_pairs(self.cpu, workspace, x, layout.k);
                self.run(PairPanels::new(layout, panels, pairs), out);
            }
            WeightType::Q4_0 => self.run_blocks::<{ WeightType::Q4_0 as usize }>(workspace, out),
            WeightType::Q4_1 => self.run_blocks::<{ WeightType::Q4_1 as usize }>(workspace, out),
            WeightType::Q5_0 => self.run_blocks::<{ WeightType::Q5_0 as usize }>(workspace, out),
            WeightType::Q5_1 => self.run_blocks::<{ WeightType::Q5_1 as usize }>(workspace, out),
            WeightType::Q8_0 => self.run_blocks::<{ WeightType::Q8_0 as usize }>(workspace, out),
            WeightType::Q2K => self.run_blocks::<{ WeightType::Q2K as usize }>(workspace, out),
            WeightType::Q3K => self.run_blocks::<{ WeightType::Q3K as usize }>(workspace, out),
            WeightType::Q4K => self.run_blocks::<{ WeightType::Q4K as usize }>(workspace, out),
            WeightType::Q5K => self.run_blocks::<{ WeightType::Q5K as usize }>(workspace, out),
            WeightType::Q6K => self.run_blocks::<{ WeightType::Q6K as usize }>(workspace, out),
        }
    }

    /// The product with a weight of quantised type number `TYPE`.
    fn run_blocks<const TYPE: usize>(&self, workspace: &mut CpuWorkspace, out: &mut [f32]) {
        let layout = self.part.layout();
        let inputs = quantise(self.cpu, workspace, self.x, layout.k, BlockPanels::<TYPE>::FORM);
        self.run(BlockPanels::<TYPE>::new(layout, self.part.panels(), inputs), out);
    }

    /// Cuts the product into units of some rows by some panels, and runs them.
    fn run<K: Panels>(&self, panels: K, out: &mut [f32]) {
        let num_panels = self.part.n().div_ceil(LANES);
        let row_bytes = 4 * self.part.layout().k;
        let unit_rows = (UNIT_INPUT_BYTES / row_bytes).next_multiple_of(16).min(self.rows.max(1));
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
                n: self.part.n(),
                first_column: self.part.first_row(),
                pitch: self.pitch,
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
    /// Columns of the part.
    n: usize,
    /// The part's first column in `out`.
    first_column: usize,
    /// Columns of `out`.
    pitch: usize,
    /// `[n]`
    bias: Option<&'a [f32]>,
    /// `[rows, pitch]`; this unit writes its own rows and columns only.
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
                let start = (row + row_idx) * self.pitch + self.first_column + column;
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

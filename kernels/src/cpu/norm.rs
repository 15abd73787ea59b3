//! Root mean square normalisation with the residual's addition.

use super::CpuDevice;
use super::disjoint::Disjoint;
use super::isa::Task;
use super::simd::{LANES, Simd};

/// Rows that one unit normalises.
const ROWS_PER_UNIT: usize = 8;

/// What the op reads.
#[derive(Clone, Copy)]
pub(crate) struct NormInputs<'a> {
    /// `[tokens, hidden]`
    pub(crate) delta: Option<&'a [f32]>,
    /// The delta's own norm, taken before it is added: `[hidden]`
    pub(crate) delta_weight: Option<&'a [f32]>,
    /// `[hidden]`
    pub(crate) weight: &'a [f32],
    pub(crate) epsilon: f32,
}

/// Adds `delta` to `residual`, and writes the normalised sum to `out`: all `[tokens, hidden]`.
pub(crate) fn add_rms_norm(cpu: &CpuDevice, inputs: NormInputs<'_>, residual: &mut [f32], out: &mut [f32]) {
    let hidden = inputs.weight.len();
    let num_rows = residual.len() / hidden;
    let (residual, out) = (Disjoint::new(residual), Disjoint::new(out));
    cpu.for_each_unit(num_rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        for row in unit * ROWS_PER_UNIT..num_rows.min((unit + 1) * ROWS_PER_UNIT) {
            let range = row * hidden..(row + 1) * hidden;
            // SAFETY: units are ranges of rows that do not overlap.
            let (residual, out) = unsafe { (residual.part(range.clone()), out.part(range.clone())) };
            let inputs = NormInputs { delta: inputs.delta.map(|delta| &delta[range]), ..inputs };
            cpu.isa.run(NormRow { inputs, residual, out });
        }
    });
}

/// One row: every slice is `[hidden]`, the delta too.
struct NormRow<'a> {
    inputs: NormInputs<'a>,
    residual: &'a mut [f32],
    out: &'a mut [f32],
}

impl Task for NormRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let NormInputs { delta, delta_weight, weight, epsilon } = self.inputs;
        match (delta, delta_weight) {
            (None, _) => {}
            (Some(delta), None) => {
                for (sum, &addend) in self.residual.iter_mut().zip(delta) {
                    *sum += addend;
                }
            }
            (Some(delta), Some(weight)) => {
                let factor = norm_factor(simd, delta, epsilon);
                for ((sum, &x), &weight) in self.residual.iter_mut().zip(delta).zip(weight) {
                    *sum += x * factor * weight;
                }
            }
        }
        let factor = norm_factor(simd, self.residual, epsilon);
        for ((out, &x), &weight) in self.out.iter_mut().zip(&*self.residual).zip(weight) {
            *out = x * factor * weight;
        }
    }
}

/// Normalises one row in place.
#[inline(always)]
pub(super) fn normalise<S: Simd>(simd: S, row: &mut [f32], weight: &[f32], epsilon: f32) {
    let factor = norm_factor(simd, row, epsilon);
    for (x, &weight) in row.iter_mut().zip(weight) {
        *x = *x * factor * weight;
    }
}

/// `1 / sqrt(mean(row^2) + epsilon)`.
#[inline(always)]
fn norm_factor<S: Simd>(simd: S, row: &[f32], epsilon: f32) -> f32 {
    let (vectors, rest) = row.as_chunks::<LANES>();
    let mut squares = simd.splat(0.0);
    for vector in vectors {
        // SAFETY: the array holds sixteen values.
        let x = unsafe { simd.load(vector.as_ptr()) };
        squares = simd.fma(x, x, squares);
    }
    let mut sum = simd.sum(squares);
    for x in rest {
        sum = x.mul_add(*x, sum);
    }
    let mean = sum / row.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}

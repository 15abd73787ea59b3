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
    /// `[hidden]`
    pub(crate) weight: &'a [f32],
    pub(crate) epsilon: f32,
}

/// Adds `delta` to `residual`, and writes the normalised sum to `out`: all `[tokens, hidden]`.
pub(crate) fn add_rms_norm(cpu: &CpuDevice, inputs: NormInputs<'_>, residual: &mut [f32], out: &mut [f32]) {
    let NormInputs { delta, weight, epsilon } = inputs;
    let hidden = weight.len();
    let num_rows = residual.len() / hidden;
    let (residual, out) = (Disjoint::new(residual), Disjoint::new(out));
    cpu.for_each_unit(num_rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        for row in unit * ROWS_PER_UNIT..num_rows.min((unit + 1) * ROWS_PER_UNIT) {
            let range = row * hidden..(row + 1) * hidden;
            // SAFETY: units are ranges of rows that do not overlap.
            let (residual, out) = unsafe { (residual.part(range.clone()), out.part(range.clone())) };
            let delta = delta.map(|delta| &delta[range]);
            cpu.isa.run(NormRow { delta, weight, epsilon, residual, out });
        }
    });
}

/// One row: every slice is `[hidden]`.
struct NormRow<'a> {
    delta: Option<&'a [f32]>,
    weight: &'a [f32],
    epsilon: f32,
    residual: &'a mut [f32],
    out: &'a mut [f32],
}

impl Task for NormRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if let Some(delta) = self.delta {
            for (sum, &addend) in self.residual.iter_mut().zip(delta) {
                *sum += addend;
            }
        }
        let (vectors, rest) = self.residual.as_chunks::<LANES>();
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
        let mean = sum / self.residual.len() as f32;
        let factor = 1.0 / (mean + self.epsilon).sqrt();
        for ((out, &x), &weight) in self.out.iter_mut().zip(&*self.residual).zip(self.weight) {
            *out = x * factor * weight;
        }
    }
}

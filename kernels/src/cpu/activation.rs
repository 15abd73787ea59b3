//! Functions of single numbers: the gated activation of the feed-forward layer, the soft cap of logits.

use crate::ops::Activation;

use super::CpuDevice;
use super::disjoint::Disjoint;
use super::isa::Task;
use super::simd::{LANES, Simd, exp, soft_cap as cap_vector};

/// Rows that one unit computes.
const ROWS_PER_UNIT: usize = 4;

/// Numbers that one unit caps.
const NUMBERS_PER_UNIT: usize = 1 << 14;

/// `out = activation(gate) * up` for `gate_up [tokens, 2 * columns]`, the gate first.
pub(crate) fn gated_act(
    cpu: &CpuDevice,
    activation: Activation,
    gate_up: &[f32],
    out: &mut [f32],
    columns: usize,
) {
    let num_rows = out.len() / columns;
    let out = Disjoint::new(out);
    cpu.for_each_unit(num_rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        for row in unit * ROWS_PER_UNIT..num_rows.min((unit + 1) * ROWS_PER_UNIT) {
            // SAFETY: units are ranges of rows that do not overlap.
            let out = unsafe { out.part(row * columns..(row + 1) * columns) };
            let both = &gate_up[row * 2 * columns..(row + 1) * 2 * columns];
            let (gate, up) = both.split_at(columns);
            cpu.isa.run(GateRow { activation, gate, up, out });
        }
    });
}

/// One row: every slice is `[columns]`.
struct GateRow<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Task for GateRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gates, gate_rest) = self.gate.as_chunks::<LANES>();
        let (ups, up_rest) = self.up.as_chunks::<LANES>();
        let (outs, out_rest) = self.out.as_chunks_mut::<LANES>();
        for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
            gate_vector(simd, self.activation, gate, up, out);
        }
        if !gate_rest.is_empty() {
            let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            gate[..gate_rest.len()].copy_from_slice(gate_rest);
            up[..up_rest.len()].copy_from_slice(up_rest);
            gate_vector(simd, self.activation, &gate, &up, &mut out);
            out_rest.copy_from_slice(&out[..gate_rest.len()]);
        }
    }
}

/// Both activations are `x / (1 + e^-y)`, with an `y` of their own.
#[inline(always)]
fn gate_vector<S: Simd>(
    simd: S,
    activation: Activation,
    gate: &[f32; LANES],
    up: &[f32; LANES],
    out: &mut [f32; LANES],
) {
    // SAFETY: the arrays hold sixteen values.
    let (gate, up) = unsafe { (simd.load(gate.as_ptr()), simd.load(up.as_ptr())) };
    let y = match activation {
        Activation::Silu => gate,
        Activation::GeluTanh => gelu_exponent(simd, gate),
    };
    let minus_y = simd.sub(simd.splat(0.0), y);
    let divisor = simd.add(simd.splat(1.0), exp(simd, minus_y));
    let value = simd.mul(simd.div(gate, divisor), up);
    // SAFETY: the array holds sixteen values.
    unsafe { simd.store(out.as_mut_ptr(), value) };
}

/// `2 sqrt(2 / pi) (x + 0.044715 x^3)`: `(1 + tanh(y / 2)) / 2` is `1 / (1 + e^-y)`, without the
/// cancellation.
#[inline(always)]
fn gelu_exponent<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    const CUBIC: f32 = 0.044_715;
    const TWO_ROOT_TWO_OVER_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::SQRT_2;
    let factor = simd.fma(simd.mul(x, x), simd.splat(CUBIC), simd.splat(1.0));
    simd.mul(simd.mul(x, factor), simd.splat(TWO_ROOT_TWO_OVER_PI))
}

/// `x = cap * tanh(x / cap)`, each number on its own.
pub(crate) fn soft_cap(cpu: &CpuDevice, cap: f32, x: &mut [f32]) {
    let num_numbers = x.len();
    let x = Disjoint::new(x);
    cpu.for_each_unit(num_numbers.div_ceil(NUMBERS_PER_UNIT), &|_, unit| {
        let first = unit * NUMBERS_PER_UNIT;
        // SAFETY: units are ranges that do not overlap.
        let x = unsafe { x.part(first..num_numbers.min(first + NUMBERS_PER_UNIT)) };
        cpu.isa.run(Cap { cap, x });
    });
}

/// Some numbers to be capped.
struct Cap<'a> {
    cap: f32,
    x: &'a mut [f32],
}

impl Task for Cap<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (vectors, rest) = self.x.as_chunks_mut::<LANES>();
        let cap = |vector: &mut [f32; LANES]| {
            // SAFETY: the array holds sixteen values.
            unsafe {
                let capped = cap_vector(simd, simd.load(vector.as_ptr()), self.cap);
                simd.store(vector.as_mut_ptr(), capped);
            }
        };
        for vector in vectors {
            cap(vector);
        }
        let mut padded = [0.0; LANES];
        padded[..rest.len()].copy_from_slice(rest);
        cap(&mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

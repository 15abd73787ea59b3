//! The gated activation of the feed-forward layer.

use super::CpuDevice;
use super::disjoint::Disjoint;
use super::isa::Task;
use super::simd::{LANES, Simd, exp};

/// Rows that one unit computes.
const ROWS_PER_UNIT: usize = 4;

/// `out = silu(gate) * up` for `gate_up [tokens, 2 * columns]`, the gate first.
pub(crate) fn gated_act(cpu: &CpuDevice, gate_up: &[f32], out: &mut [f32], columns: usize) {
    let num_rows = out.len() / columns;
    let out = Disjoint::new(out);
    cpu.for_each_unit(num_rows.div_ceil(ROWS_PER_UNIT), &|_, unit| {
        for row in unit * ROWS_PER_UNIT..num_rows.min((unit + 1) * ROWS_PER_UNIT) {
            // SAFETY: units are ranges of rows that do not overlap.
            let out = unsafe { out.part(row * columns..(row + 1) * columns) };
            let both = &gate_up[row * 2 * columns..(row + 1) * 2 * columns];
            let (gate, up) = both.split_at(columns);
            cpu.isa.run(GateRow { gate, up, out });
        }
    });
}

/// One row: every slice is `[columns]`.
struct GateRow<'a> {
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
            gate_vector(simd, gate, up, out);
        }
        if !gate_rest.is_empty() {
            let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            gate[..gate_rest.len()].copy_from_slice(gate_rest);
            up[..up_rest.len()].copy_from_slice(up_rest);
            gate_vector(simd, &gate, &up, &mut out);
            out_rest.copy_from_slice(&out[..gate_rest.len()]);
        }
    }
}

#[inline(always)]
fn gate_vector<S: Simd>(simd: S, gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    // SAFETY: the arrays hold sixteen values.
    let (gate, up) = unsafe { (simd.load(gate.as_ptr()), simd.load(up.as_ptr())) };
    let minus_gate = simd.sub(simd.splat(0.0), gate);
    let divisor = simd.add(simd.splat(1.0), exp(simd, minus_gate));
    let value = simd.mul(simd.div(gate, divisor), up);
    // SAFETY: the array holds sixteen values.
    unsafe { simd.store(out.as_mut_ptr(), value) };
}

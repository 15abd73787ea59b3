//! Gathering rows: of an embedding table, and of activations.

use super::disjoint::Disjoint;
use super::{CpuDevice, CpuWeight};

/// Tokens that one unit gathers.
const TOKENS_PER_UNIT: usize = 8;

/// `out[t] = table[tokens[t]] * scale`; every token is below the table's rows.
pub(crate) fn embed(cpu: &CpuDevice, tokens: &[u32], table: &CpuWeight, scale: Option<f32>, out: &mut [f32]) {
    let hidden = table.k();
    let out = Disjoint::new(out);
    cpu.for_each_unit(tokens.len().div_ceil(TOKENS_PER_UNIT), &|_, unit| {
        let first = unit * TOKENS_PER_UNIT;
        let last = tokens.len().min(first + TOKENS_PER_UNIT);
        // SAFETY: units are ranges of tokens that do not overlap.
        let rows = unsafe { out.part(first * hidden..last * hidden) };
        for (row, &token) in rows.chunks_exact_mut(hidden).zip(&tokens[first..last]) {
            table.read_row(token as usize, row);
            if let Some(scale) = scale {
                for x in row {
                    *x *= scale;
                }
            }
        }
    });
}

/// `out[i] = x[indices[i]]`; every index is below the rows of `x`.
pub(crate) fn gather_rows(indices: &[u32], x: &[f32], out: &mut [f32], columns: usize) {
    for (row, &index) in out.chunks_exact_mut(columns).zip(indices) {
        let start = index as usize * columns;
        row.copy_from_slice(&x[start..start + columns]);
    }
}

//! One tile of keys and values against some queries: scores, running softmax, weighted values.

#![expect(
    clippy::needless_range_loop,
    reason = "loops of fixed length over several arrays of registers, which must unroll"
)]

use super::super::cache_element::CacheElement;
use super::super::simd::{LANES, Simd, exp, soft_cap};

/// Keys in a tile: a fixed number, since it decides the order of sums.
pub(super) const TILE: usize = 32;

/// f32 of scratch for `num_queries` queries.
pub(super) fn scratch_len(head_dim: usize, num_queries: usize) -> usize {
    2 * TILE * head_dim + num_queries * (2 * head_dim + 2 * LANES)
}

/// A unit's scratch memory.
pub(super) struct TileScratch<'a> {
    head_dim: usize,
    soft_cap: Option<f32>,
    /// `[head_dim, TILE]`
    keys: &'a mut [f32],
    /// `[TILE, head_dim]`
    values: &'a mut [f32],
    /// Scaled: `[queries, head_dim]`
    pub(super) queries: &'a mut [f32],
    /// Weighted values so far: `[queries, head_dim]`
    pub(super) sums: &'a mut [f32],
    /// Weights so far, in lanes: `[queries, LANES]`
    pub(super) weights: &'a mut [f32],
    /// Largest score so far: `[queries]`, with room to spare.
    largest: &'a mut [f32],
}

impl<'a> TileScratch<'a> {
    /// Cuts [`scratch_len`] numbers into its parts.
    #[inline(always)]
    pub(super) fn new(
        memory: &'a mut [f32],
        head_dim: usize,
        num_queries: usize,
        soft_cap: Option<f32>,
    ) -> Self {
        let (keys, memory) = memory.split_at_mut(TILE * head_dim);
        let (values, memory) = memory.split_at_mut(TILE * head_dim);
        let (queries, memory) = memory.split_at_mut(num_queries * head_dim);
        let (sums, memory) = memory.split_at_mut(num_queries * head_dim);
        let (weights, largest) = memory.split_at_mut(num_queries * LANES);
        Self { head_dim, soft_cap, keys, values, queries, sums, weights, largest }
    }

    /// Forgets the keys seen so far.
    #[inline(always)]
    pub(super) fn reset(&mut self) {
        self.sums.fill(0.0);
        self.weights.fill(0.0);
        self.largest.fill(f32::NEG_INFINITY);
    }

    /// Takes in a tile's keys, turned into columns; each row holds `head_dim` numbers or more.
    #[inline(always)]
    pub(super) fn load_keys<S: Simd, T: CacheElement>(&mut self, simd: S, rows: &[&[T]; TILE]) {
        for (half, rows) in rows.as_chunks::<LANES>().0.iter().enumerate() {
            for column in (0..self.head_dim).step_by(LANES) {
                let mut square = [simd.splat(0.0); LANES];
                for (vector, row) in square.iter_mut().zip(rows) {
                    *vector = T::load(simd, &row[column..column + LANES]);
                }
                let square = simd.transpose(square);
                for (index, &keys) in square.iter().enumerate() {
                    let place = (column + index) * TILE + half * LANES;
                    let to = &mut self.keys[place..place + LANES];
                    // SAFETY: the slice has room for sixteen values.
                    unsafe { simd.store(to.as_mut_ptr(), keys) };
                }
            }
        }
    }

    /// Takes in a tile's values; each row holds `head_dim` numbers or more.
    #[inline(always)]
    pub(super) fn load_values<S: Simd, T: CacheElement>(&mut self, simd: S, rows: &[&[T]; TILE]) {
        for (row, to) in rows.iter().zip(self.values.chunks_exact_mut(self.head_dim)) {
            for column in (0..self.head_dim).step_by(LANES) {
                let value = T::load(simd, &row[column..column + LANES]);
                let to = &mut to[column..column + LANES];
                // SAFETY: the slice has room for sixteen values.
                unsafe { simd.store(to.as_mut_ptr(), value) };
            }
        }
    }
}

/// Which keys of a tile some queries see.
#[derive(Clone, Copy)]
pub(super) struct Seen<const Q: usize> {
    /// Keys before all queries' window; none unless `Q` is 1.
    pub(super) num_hidden: usize,
    /// Keys up to each query's own: at least one past the hidden ones, and never fewer than of the query before.
    pub(super) num_visible: [usize; Q],
}

/// Takes the tile into the results of queries `query..query + Q`.
#[inline(always)]
pub(super) fn visit<S: Simd, const Q: usize>(
    simd: S,
    scratch: &mut TileScratch<'_>,
    query: usize,
    seen: Seen<Q>,
) {
    let head_dim = scratch.head_dim;
    let queries = &scratch.queries[query * head_dim..(query + Q) * head_dim];
    let mut all_scores = [[simd.splat(0.0); 2]; Q];
    if S::TALL_TILES {
        all_scores = scores::<S, Q>(simd, queries, scratch.keys, head_dim);
    } else {
        for (scores_of_one, query) in all_scores.iter_mut().zip(queries.chunks_exact(head_dim)) {
            [*scores_of_one] = scores::<S, 1>(simd, query, scratch.keys, head_dim);
        }
    }
    if let Some(cap) = scratch.soft_cap {
        for scores in all_scores.as_flattened_mut() {
            *scores = soft_cap(simd, *scores, cap);
        }
    }
    let mut weights = [[0.0; TILE]; Q];
    let mut shrinks = [simd.splat(1.0); Q];
    for index in 0..Q {
        let lanes = (query + index) * LANES..(query + index + 1) * LANES;
        let total = &mut scratch.weights[lanes];
        let largest = &mut scratch.largest[query + index];
        let row = &mut weights[index];
        let keys = (seen.num_hidden, seen.num_visible[index]);
        shrinks[index] = soften(simd, all_scores[index], keys, (largest, total), row);
    }
    let sums = &mut scratch.sums[query * head_dim..(query + Q) * head_dim];
    let mut column = 0;
    while column < head_dim {
        let place = (column, head_dim);
        if (S::TALL_TILES || Q == 1) && head_dim - column >= 4 * LANES {
            add_values::<S, Q, 4>(simd, sums, &shrinks, scratch.values, &weights, seen, place);
            column += 4 * LANES;
        } else {
            add_values::<S, Q, 1>(simd, sums, &shrinks, scratch.values, &weights, seen, place);
            column += LANES;
        }
    }
}

/// Scores of `Q` queries with the tile's keys: even and odd columns are summed apart.
#[inline(always)]
fn scores<S: Simd, const Q: usize>(
    simd: S,
    queries: &[f32],
    keys: &[f32],
    head_dim: usize,
) -> [[S::Floats; 2]; Q] {
    assert!(queries.len() >= Q * head_dim && keys.len() >= head_dim * TILE, "scratch is whole");
    assert!(head_dim.is_multiple_of(2), "columns come in pairs");
    let mut sums = [[[simd.splat(0.0); 2]; 2]; Q];
    for column in (0..head_dim).step_by(2) {
        for odd in 0..2 {
            // SAFETY: a column of keys is `TILE` values, twice sixteen; lengths are asserted above.
            unsafe {
                let at = keys.as_ptr().add((column + odd) * TILE);
                let (low, high) = (simd.load(at), simd.load(at.add(LANES)));
                for (query, sums) in sums.iter_mut().enumerate() {
                    let number = simd.splat(*queries.as_ptr().add(query * head_dim + column + odd));
                    sums[odd][0] = simd.fma(number, low, sums[odd][0]);
                    sums[odd][1] = simd.fma(number, high, sums[odd][1]);
                }
            }
        }
    }
    let mut scores = [[simd.splat(0.0); 2]; Q];
    for (scores, [even, odd]) in scores.iter_mut().zip(sums) {
        *scores = [simd.add(even[0], odd[0]), simd.add(even[1], odd[1])];
    }
    scores
}

/// One query's softmax over the tile: writes the keys' weights, updates the largest score and the
/// total, and returns by what earlier sums shrink. Keys before `num_hidden` and from `num_visible` on
/// weigh nothing.
#[inline(always)]
fn soften<S: Simd>(
    simd: S,
    scores: [S::Floats; 2],
    (num_hidden, num_visible): (usize, usize),
    (largest, total): (&mut f32, &mut [f32]),
    weights: &mut [f32; TILE],
) -> S::Floats {
    assert!(total.len() == LANES, "totals are kept in lanes");
    let high_visible = num_visible.saturating_sub(LANES);
    let hidden = simd.splat(f32::NEG_INFINITY);
    let mut low = simd.first(num_visible, scores[0], hidden);
    let mut high = simd.first(high_visible, scores[1], hidden);
    let high_hidden = num_hidden.saturating_sub(LANES);
    if num_hidden > 0 {
        low = simd.first(num_hidden, hidden, low);
        high = simd.first(high_hidden, hidden, high);
    }
    let new_largest = simd.largest(simd.max(low, high)).max(*largest);
    let shrink = exp(simd, simd.splat(*largest - new_largest));
    *largest = new_largest;
    let (zero, new_largest) = (simd.splat(0.0), simd.splat(new_largest));
    low = simd.first(num_visible, exp(simd, simd.sub(low, new_largest)), zero);
    high = simd.first(high_visible, exp(simd, simd.sub(high, new_largest)), zero);
    if num_hidden > 0 {
        low = simd.first(num_hidden, zero, low);
        high = simd.first(high_hidden, zero, high);
    }
    // SAFETY: the array holds twice sixteen values, the slice sixteen.
    unsafe {
        let sum = simd.fma(simd.load(total.as_ptr()), shrink, simd.add(low, high));
        simd.store(total.as_mut_ptr(), sum);
        simd.store(weights.as_mut_ptr(), low);
        simd.store(weights.as_mut_ptr().add(LANES), high);
    }
    shrink
}

/// `sums = sums * shrink + weights * values` for `C` vectors of columns, values in order of position.
///
/// Keys that all `Q` queries see are read once for all; a hidden key is never multiplied, not even
/// with zero.
#[inline(always)]
fn add_values<S: Simd, const Q: usize, const C: usize>(
    simd: S,
    sums: &mut [f32],
    shrinks: &[S::Floats; Q],
    values: &[f32],
    weights: &[[f32; TILE]; Q],
    seen: Seen<Q>,
    (column, head_dim): (usize, usize),
) {
    assert!(values.len() >= TILE * head_dim && sums.len() >= Q * head_dim, "scratch is whole");
    assert!(column + C * LANES <= head_dim, "columns are whole vectors");
    let Seen { num_hidden, num_visible } = seen;
    let num_shared = num_visible[0];
    let mut totals = [[simd.splat(0.0); C]; Q];
    // SAFETY: rows and columns lie inside by the asserts above; `num_visible` is at most `TILE`.
    unsafe {
        let sums = sums.as_mut_ptr().add(column);
        let values = values.as_ptr().add(column);
        for query in 0..Q {
            for index in 0..C {
                let sum = simd.load(sums.add(query * head_dim + index * LANES));
                totals[query][index] = simd.mul(sum, shrinks[query]);
            }
        }
        for key in num_hidden..num_shared {
            for index in 0..C {
                let value = simd.load(values.add(key * head_dim + index * LANES));
                for query in 0..Q {
                    let weight = simd.splat(weights[query][key]);
                    totals[query][index] = simd.fma(weight, value, totals[query][index]);
                }
            }
        }
        for query in 0..Q {
            for key in num_shared..num_visible[query] {
                let weight = simd.splat(weights[query][key]);
                for index in 0..C {
                    let value = simd.load(values.add(key * head_dim + index * LANES));
                    totals[query][index] = simd.fma(weight, value, totals[query][index]);
                }
            }
            for index in 0..C {
                simd.store(sums.add(query * head_dim + index * LANES), totals[query][index]);
            }
        }
    }
}

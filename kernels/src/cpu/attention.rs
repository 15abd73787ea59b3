//! Paged attention over ragged rows: decodes and chunks of prompts alike.
//!
//! A unit is up to [`UNIT_QUERIES`] query vectors (tokens by heads) that share one sequence and one KV
//! head. It walks the keys in tiles of [`TILE`], counted from position 0, with a running maximum.
//!
//! # Invariants
//!
//! Scores are sums over the head's columns, upwards, even and odd apart; a tile's values are added in
//! order of position; tiles do not depend on blocks, chunks or units. So a query's result depends on
//! its own position and keys alone, bit for bit.
//!
//! Source of the running maximum: Milakov and Gimelshein, "Online normalizer calculation for softmax",
//! 2018; of the tiling: Dao et al., "FlashAttention", 2022.

use crate::batch::StepBatch;
use crate::kv::KvLayout;
use crate::tensor::DType;
use crate::tensor::buffer::Element;

use super::disjoint::Disjoint;
use super::isa::Task;
use super::simd::{LANES, Simd, exp};
use super::{CpuDevice, CpuWorkspace};

/// Keys in a tile: a fixed number, since it decides the order of sums.
const TILE: usize = 32;
/// Most query vectors of a unit. Any number gives the same bits.
const UNIT_QUERIES: usize = 32;
/// Query vectors whose scores are summed at once, to hide the latency of additions.
const QUERY_GROUP: usize = 4;

/// f32 of scratch that one thread needs.
pub(super) fn scratch_len(head_dim: usize) -> usize {
    2 * TILE * head_dim + UNIT_QUERIES * (2 * head_dim + 2 * LANES)
}

/// What a step's units share.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) batch: &'a StepBatch,
    /// `[tokens, (h + 2 g) * d]`, of which q is read.
    pub(crate) qkv: &'a [f32],
    pub(crate) num_heads: usize,
    pub(crate) scale: f32,
    pub(crate) kv: KvLayout,
}

/// Computes `out [tokens, h * d]`; the op has checked all shapes and that the blocks exist.
pub(crate) fn attention<T: Element + Sync>(
    cpu: &CpuDevice,
    workspace: &mut CpuWorkspace,
    attention: Attention<'_>,
    (keys, values): (&[T], &[T]),
    out: &mut [f32],
) {
    let head_dim = attention.kv.head_dim;
    let scratch_len = scratch_len(head_dim);
    let scratch = Disjoint::new(workspace.attention.as_mut_slice::<f32>());
    let out = Disjoint::new(out);
    let num_units = attention.num_tiles() * attention.kv.num_kv_heads;
    cpu.for_each_unit(num_units, &|thread, unit| {
        // SAFETY: no two units run under the same thread index at once.
        let scratch = unsafe { scratch.part(thread * scratch_len..(thread + 1) * scratch_len) };
        let (row, first_query) = attention.find_tile(unit / attention.kv.num_kv_heads);
        let kv_head = unit % attention.kv.num_kv_heads;
        let unit = Unit { attention, row, kv_head, first_query, keys, values, out: &out };
        cpu.isa.run(UnitTask { unit, scratch });
    });
}

impl Attention<'_> {
    /// Query heads for each KV head.
    fn group(&self) -> usize {
        self.num_heads / self.kv.num_kv_heads
    }

    /// Units that a row needs for each KV head.
    fn row_tiles(&self, row: usize) -> usize {
        (self.batch.row_tokens(row).len() * self.group()).div_ceil(UNIT_QUERIES)
    }

    fn num_tiles(&self) -> usize {
        (0..self.batch.num_rows()).map(|row| self.row_tiles(row)).sum()
    }

    /// The row, and the first query vector in it, of a tile of all rows.
    fn find_tile(&self, tile: usize) -> (usize, usize) {
        let mut tiles_before = 0;
        for row in 0..self.batch.num_rows() {
            let row_tiles = self.row_tiles(row);
            if tile < tiles_before + row_tiles {
                return (row, (tile - tiles_before) * UNIT_QUERIES);
            }
            tiles_before += row_tiles;
        }
        unreachable!("tile {tile} is below the number of tiles");
    }
}

/// Some query vectors of one sequence and KV head.
#[derive(Clone, Copy)]
struct Unit<'a, T> {
    attention: Attention<'a>,
    row: usize,
    kv_head: usize,
    first_query: usize,
    keys: &'a [T],
    values: &'a [T],
    out: &'a Disjoint<'a, f32>,
}

struct UnitTask<'a, T> {
    unit: Unit<'a, T>,
    scratch: &'a mut [f32],
}

/// A unit's part of a thread's scratch memory.
struct Scratch<'a> {
    /// `[head_dim, TILE]`
    keys: &'a mut [f32],
    /// `[TILE, head_dim]`
    values: &'a mut [f32],
    /// Scaled: `[queries, head_dim]`
    queries: &'a mut [f32],
    /// Weighted values so far: `[queries, head_dim]`
    sums: &'a mut [f32],
    /// Weights so far, in lanes: `[queries, LANES]`
    weights: &'a mut [f32],
    /// Largest score so far, at the start of each vector: `[queries, LANES]`
    largest: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn new(memory: &'a mut [f32], head_dim: usize) -> Self {
        let (keys, memory) = memory.split_at_mut(TILE * head_dim);
        let (values, memory) = memory.split_at_mut(TILE * head_dim);
        let (queries, memory) = memory.split_at_mut(UNIT_QUERIES * head_dim);
        let (sums, memory) = memory.split_at_mut(UNIT_QUERIES * head_dim);
        let (weights, largest) = memory.split_at_mut(UNIT_QUERIES * LANES);
        Self { keys, values, queries, sums, weights, largest }
    }
}

impl<T: Element> Task for UnitTask<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let unit = self.unit;
        let head_dim = unit.attention.kv.head_dim;
        let mut scratch = Scratch::new(self.scratch, head_dim);
        let num_queries = unit.num_queries();
        unit.load_queries(&mut scratch);
        scratch.sums.fill(0.0);
        scratch.weights.fill(0.0);
        scratch.largest.fill(f32::NEG_INFINITY);
        let num_keys = unit.position(num_queries - 1) + 1;
        for first_key in (0..num_keys).step_by(TILE) {
            unit.load_tile(simd, &mut scratch, first_key, num_keys);
            let mut query = 0;
            while query < num_queries {
                if num_queries - query >= QUERY_GROUP {
                    unit.visit::<S, QUERY_GROUP>(simd, &mut scratch, query, first_key);
                    query += QUERY_GROUP;
                } else {
                    unit.visit::<S, 1>(simd, &mut scratch, query, first_key);
                    query += 1;
                }
            }
        }
        unit.store_results(simd, &scratch);
    }
}

impl<T: Element> Unit<'_, T> {
    fn num_queries(&self) -> usize {
        let all = self.attention.batch.row_tokens(self.row).len() * self.attention.group();
        UNIT_QUERIES.min(all - self.first_query)
    }

    /// The token (in the batch) and the head of a query vector.
    #[inline(always)]
    fn token_and_head(&self, query: usize) -> (usize, usize) {
        let group = self.attention.group();
        let index = self.first_query + query;
        let token = self.attention.batch.row_tokens(self.row).start + index / group;
        (token, self.kv_head * group + index % group)
    }

    #[inline(always)]
    fn position(&self, query: usize) -> usize {
        self.attention.batch.positions()[self.token_and_head(query).0] as usize
    }

    #[inline(always)]
    fn load_queries(&self, scratch: &mut Scratch<'_>) {
        let KvLayout { num_kv_heads, head_dim, .. } = self.attention.kv;
        let columns = (self.attention.num_heads + 2 * num_kv_heads) * head_dim;
        for (query, target) in
            scratch.queries.chunks_exact_mut(head_dim).take(self.num_queries()).enumerate()
        {
            let (token, head) = self.token_and_head(query);
            let start = token * columns + head * head_dim;
            for (to, from) in target.iter_mut().zip(&self.attention.qkv[start..start + head_dim]) {
                *to = from * self.attention.scale;
            }
        }
    }

    /// Reads a tile's keys, as columns, and its values; those past the last key become zero.
    #[inline(always)]
    fn load_tile<S: Simd>(
        &self,
        simd: S,
        scratch: &mut Scratch<'_>,
        first_key: usize,
        num_keys: usize,
    ) {
        let KvLayout { num_kv_heads, block_size, head_dim, dtype, .. } = self.attention.kv;
        let blocks = self.attention.batch.row_blocks(self.row);
        let starts: [Option<usize>; TILE] = std::array::from_fn(|key| {
            let position = first_key + key;
            (position < num_keys).then(|| {
                let block = blocks[position / block_size] as usize * num_kv_heads + self.kv_head;
                (block * block_size + position % block_size) * head_dim
            })
        });
        for (start, row) in starts.iter().zip(scratch.values.chunks_exact_mut(head_dim)) {
            for (index, to) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let value = start.map_or(simd.splat(0.0), |start| {
                    load_vector(simd, dtype, self.values, start + index * LANES)
                });
                // SAFETY: the array has room for sixteen values.
                unsafe { simd.store(to.as_mut_ptr(), value) };
            }
        }
        for (half, starts) in starts.as_chunks::<LANES>().0.iter().enumerate() {
            for column in (0..head_dim).step_by(LANES) {
                let rows = starts.map(|start| {
                    start.map_or(simd.splat(0.0), |start| {
                        load_vector(simd, dtype, self.keys, start + column)
                    })
                });
                for (index, keys) in simd.transpose(rows).into_iter().enumerate() {
                    let place = (column + index) * TILE + half * LANES;
                    let to = &mut scratch.keys[place..place + LANES];
                    // SAFETY: the slice has room for sixteen values.
                    unsafe { simd.store(to.as_mut_ptr(), keys) };
                }
            }
        }
    }

    /// Takes one tile of keys and values into the results of `Q` queries.
    #[inline(always)]
    fn visit<S: Simd, const Q: usize>(
        &self,
        simd: S,
        scratch: &mut Scratch<'_>,
        query: usize,
        first_key: usize,
    ) {
        let head_dim = self.attention.kv.head_dim;
        if self.position(query + Q - 1) < first_key {
            return;
        }
        let queries = &scratch.queries[query * head_dim..(query + Q) * head_dim];
        let scores = scores::<S, Q>(simd, queries, scratch.keys, head_dim);
        for (index, &scores) in scores.iter().enumerate() {
            let query = query + index;
            let position = self.position(query);
            if position < first_key {
                continue;
            }
            let num_visible = TILE.min(position + 1 - first_key);
            let lanes = query * LANES..(query + 1) * LANES;
            let state = Running {
                largest: &mut scratch.largest[query * LANES],
                weights: &mut scratch.weights[lanes],
                sums: &mut scratch.sums[query * head_dim..(query + 1) * head_dim],
            };
            state.add_tile(simd, scores, scratch.values, num_visible);
        }
    }

    #[inline(always)]
    fn store_results<S: Simd>(&self, simd: S, scratch: &Scratch<'_>) {
        let head_dim = self.attention.kv.head_dim;
        for query in 0..self.num_queries() {
            let (token, head) = self.token_and_head(query);
            let start = (token * self.attention.num_heads + head) * head_dim;
            // SAFETY: a query vector belongs to one unit, and its result is its own.
            let out = unsafe { self.out.part(start..start + head_dim) };
            // SAFETY: sixteen lanes for each query.
            let weights = unsafe { simd.load(scratch.weights[query * LANES..][..LANES].as_ptr()) };
            let factor = 1.0 / simd.sum(weights);
            for (to, sum) in out.iter_mut().zip(&scratch.sums[query * head_dim..]) {
                *to = sum * factor;
            }
        }
    }
}

/// One query's softmax so far.
struct Running<'a> {
    largest: &'a mut f32,
    /// `[LANES]`
    weights: &'a mut [f32],
    /// `[head_dim]`
    sums: &'a mut [f32],
}

impl Running<'_> {
    /// Takes in a tile's first `num_visible` keys; the others come after the query.
    #[inline(always)]
    fn add_tile<S: Simd>(
        self,
        simd: S,
        scores: [S::Floats; 2],
        values: &[f32],
        num_visible: usize,
    ) {
        let hidden = simd.splat(f32::NEG_INFINITY);
        let low = simd.first(num_visible, scores[0], hidden);
        let high = simd.first(num_visible.saturating_sub(LANES), scores[1], hidden);
        let largest = simd.largest(simd.max(low, high)).max(*self.largest);
        let shrink = exp(simd, simd.splat(*self.largest - largest));
        *self.largest = largest;
        let (zero, largest) = (simd.splat(0.0), simd.splat(largest));
        let low = simd.first(num_visible, exp(simd, simd.sub(low, largest)), zero);
        let high = exp(simd, simd.sub(high, largest));
        let high = simd.first(num_visible.saturating_sub(LANES), high, zero);
        let mut tile_weights = [0.0; TILE];
        // SAFETY: the arrays and the slice of lanes hold sixteen values each.
        unsafe {
            let total = simd.fma(simd.load(self.weights.as_ptr()), shrink, simd.add(low, high));
            simd.store(self.weights.as_mut_ptr(), total);
            simd.store(tile_weights.as_mut_ptr(), low);
            simd.store(tile_weights.as_mut_ptr().add(LANES), high);
        }
        add_values(simd, self.sums, shrink, values, &tile_weights[..num_visible]);
    }
}

/// `sums = sums * shrink + weights * values`, values in order of position.
#[inline(always)]
fn add_values<S: Simd>(
    simd: S,
    sums: &mut [f32],
    shrink: S::Floats,
    values: &[f32],
    weights: &[f32],
) {
    let head_dim = sums.len();
    let mut column = 0;
    while column < head_dim {
        if head_dim - column >= 4 * LANES {
            add_columns::<S, 4>(simd, sums, shrink, values, (column, weights));
            column += 4 * LANES;
        } else {
            add_columns::<S, 1>(simd, sums, shrink, values, (column, weights));
            column += LANES;
        }
    }
}

/// [`add_values`] for `C` vectors of columns.
#[inline(always)]
fn add_columns<S: Simd, const C: usize>(
    simd: S,
    sums: &mut [f32],
    shrink: S::Floats,
    values: &[f32],
    (column, weights): (usize, &[f32]),
) {
    let head_dim = sums.len();
    assert!(values.len() >= weights.len() * head_dim, "each weight has its row of values");
    let sums = &mut sums[column..column + C * LANES];
    let values = &values[column..];
    // SAFETY: the slices hold `C` vectors from `column` on, in every one of the rows asserted above.
    unsafe {
        let mut totals: [S::Floats; C] = std::array::from_fn(|index| {
            simd.mul(simd.load(sums.as_ptr().add(index * LANES)), shrink)
        });
        for (key, &weight) in weights.iter().enumerate() {
            let weight = simd.splat(weight);
            for (index, total) in totals.iter_mut().enumerate() {
                let value = simd.load(values.as_ptr().add(key * head_dim + index * LANES));
                *total = simd.fma(weight, value, *total);
            }
        }
        for (index, &total) in totals.iter().enumerate() {
            simd.store(sums.as_mut_ptr().add(index * LANES), total);
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
    sums.map(|[even, odd]| [simd.add(even[0], odd[0]), simd.add(even[1], odd[1])])
}

/// Sixteen elements of the cache as f32.
#[inline(always)]
fn load_vector<S: Simd, T: Element>(simd: S, dtype: DType, cache: &[T], start: usize) -> S::Floats {
    assert!(size_of::<T>() == dtype.size_bytes(), "the cache's elements have the cache's type");
    let from = cache[start..start + LANES].as_ptr();
    // SAFETY: the slice holds sixteen elements, of the size asserted above.
    unsafe {
        match dtype {
            DType::F32 => simd.load(from.cast()),
            DType::F16 => simd.load_f16(from.cast()),
            DType::BF16 => simd.load_bf16(from.cast()),
        }
    }
}

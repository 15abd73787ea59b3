//! Paged attention over ragged rows: decodes and chunks of prompts alike.
//!
//! A unit is up to [`UNIT_QUERIES`] query vectors (tokens by heads) that share one sequence and one KV
//! head. It walks the keys in tiles of [`TILE`], counted from position 0, with a running maximum.
//!
//! # Invariants
//!
//! Scores are sums over the head's columns, upwards, even and odd apart; a tile's values are added in
//! order of position; tiles do not depend on blocks, chunks, units or a window. So a query's result
//! depends on its own position and keys alone, bit for bit. A key that a query does not see is never
//! multiplied, not even with zero.
//!
//! Source of the running maximum: Milakov and Gimelshein, "Online normalizer calculation for softmax",
//! 2018; of the tiling: Dao et al., "`FlashAttention`", 2022.

use std::num::NonZeroUsize;

use crate::batch::StepBatch;
use crate::kv::{KvLayout, MAX_HEAD_DIM};

use super::cache_element::CacheElement;
use super::disjoint::Disjoint;
use super::isa::Task;
use super::simd::{LANES, Simd};
use super::{CpuDevice, CpuWorkspace};

mod tile;

use tile::{Seen, TILE, TileScratch, visit};

/// Most query vectors of a unit: enough that reading a tile of keys costs little beside its use. Any
/// number gives the same bits.
const UNIT_QUERIES: usize = 64;

/// Bytes that memory hands over at once.
const CACHE_LINE: usize = 64;

/// f32 of scratch that one thread needs.
pub(super) fn scratch_len(head_dim: usize) -> usize {
    tile::scratch_len(head_dim, UNIT_QUERIES)
}

/// What a step's units share.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) batch: &'a StepBatch,
    /// `[tokens, (h + 2 g) * d]`, of which q is read.
    pub(crate) qkv: &'a [f32],
    pub(crate) num_heads: usize,
    pub(crate) scale: f32,
    pub(crate) window: Option<NonZeroUsize>,
    pub(crate) soft_cap: Option<f32>,
    pub(crate) kv: KvLayout,
}

/// Computes `out [tokens, h * d]`; the op has checked all shapes and that the blocks exist.
pub(crate) fn attention<T: CacheElement>(
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

    /// The first key that a query at `position` sees.
    #[inline(always)]
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window.get()))
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

impl<T: CacheElement> Task for UnitTask<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let unit = self.unit;
        let head_dim = unit.attention.kv.head_dim;
        let mut scratch = TileScratch::new(self.scratch, head_dim, UNIT_QUERIES, unit.attention.soft_cap);
        let num_queries = unit.num_queries();
        unit.load_queries(&mut scratch);
        scratch.reset();
        let mut positions = [0; UNIT_QUERIES];
        let positions = &mut positions[..num_queries];
        for (query, position) in positions.iter_mut().enumerate() {
            *position = unit.position(query);
        }
        let positions = &*positions;
        let num_keys = positions[num_queries - 1] + 1;
        // A tile that lies wholly before every query's window is never read.
        let first_tile = unit.attention.first_seen(positions[0]) / TILE * TILE;
        for first_key in (first_tile..num_keys).step_by(TILE) {
            unit.load_tile(simd, &mut scratch, first_key, num_keys);
            unit.visit_tile(simd, &mut scratch, positions, first_key);
        }
        unit.store_results(simd, &scratch);
    }
}

impl<T: CacheElement> Unit<'_, T> {
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
    fn load_queries(&self, scratch: &mut TileScratch<'_>) {
        let KvLayout { num_kv_heads, head_dim, .. } = self.attention.kv;
        let columns = (self.attention.num_heads + 2 * num_kv_heads) * head_dim;
        for query in 0..self.num_queries() {
            let (token, head) = self.token_and_head(query);
            let start = token * columns + head * head_dim;
            let target = &mut scratch.queries[query * head_dim..(query + 1) * head_dim];
            for (to, from) in target.iter_mut().zip(&self.attention.qkv[start..start + head_dim]) {
                *to = from * self.attention.scale;
            }
        }
    }

    /// Takes a tile into the results of all queries that see any of its keys.
    ///
    /// Queries are in order of position: first come those before the tile, then those that see it from its first key
    /// on, then those whose window begins inside, then those that have left it behind.
    #[inline(always)]
    fn visit_tile<S: Simd>(
        &self,
        simd: S,
        scratch: &mut TileScratch<'_>,
        positions: &[usize],
        first_key: usize,
    ) {
        let mut query = positions.partition_point(|&position| position < first_key);
        let num_whole = match self.attention.window {
            Some(_) => positions.partition_point(|&last| self.attention.first_seen(last) <= first_key),
            None => positions.len(),
        };
        while query < num_whole {
            let positions = &positions[query..];
            match num_whole - query {
                1 => visit(simd, scratch, query, seen::<1>(positions, first_key, 0)),
                2 => visit(simd, scratch, query, seen::<2>(positions, first_key, 0)),
                3 => visit(simd, scratch, query, seen::<3>(positions, first_key, 0)),
                _ => visit(simd, scratch, query, seen::<4>(positions, first_key, 0)),
            }
            query += (num_whole - query).min(4);
        }
        for (query, &position) in positions.iter().enumerate().skip(num_whole) {
            let num_hidden = self.attention.first_seen(position) - first_key;
            if num_hidden >= TILE {
                break;
            }
            visit(simd, scratch, query, seen::<1>(&[position], first_key, num_hidden));
        }
    }

    /// Reads a tile's keys, as columns, and its values; those past the last key become zero.
    #[inline(always)]
    fn load_tile<S: Simd>(&self, simd: S, scratch: &mut TileScratch<'_>, first_key: usize, num_keys: usize) {
        let KvLayout { num_kv_heads, block_size, head_dim, .. } = self.attention.kv;
        let blocks = self.attention.batch.row_blocks(self.row);
        let nothing: &[T] = &[T::ZERO; MAX_HEAD_DIM];
        let (mut keys, mut values) = ([nothing; TILE], [nothing; TILE]);
        let (mut block_idx, mut offset) = (first_key / block_size, first_key % block_size);
        for index in 0..TILE.min(num_keys - first_key) {
            let block = blocks[block_idx] as usize * num_kv_heads + self.kv_head;
            let start = (block * block_size + offset) * head_dim;
            keys[index] = &self.keys[start..start + head_dim];
            values[index] = &self.values[start..start + head_dim];
            offset += 1;
            if offset == block_size {
                (block_idx, offset) = (block_idx + 1, 0);
            }
        }
        self.prefetch_tile(simd, first_key + TILE, num_keys);
        scratch.load_keys(simd, &keys);
        scratch.load_values(simd, &values);
    }

    /// Asks for the rows of a tile before they are needed: the next block lies anywhere in memory, and no processor
    /// looks ahead to there.
    #[inline(always)]
    fn prefetch_tile<S: Simd>(&self, simd: S, first_key: usize, num_keys: usize) {
        let KvLayout { num_kv_heads, block_size, head_dim, .. } = self.attention.kv;
        let blocks = self.attention.batch.row_blocks(self.row);
        let row_bytes = head_dim * size_of::<T>();
        let end = num_keys.min(first_key + TILE);
        let mut key = first_key;
        while key < end {
            let num_rows = (block_size - key % block_size).min(end - key);
            let block = blocks[key / block_size] as usize * num_kv_heads + self.kv_head;
            let start = (block * block_size + key % block_size) * head_dim;
            for from in [&self.keys[start..], &self.values[start..]] {
                for line in (0..num_rows * row_bytes).step_by(CACHE_LINE) {
                    simd.prefetch(from.as_ptr().cast::<u8>().wrapping_add(line));
                }
            }
            key += num_rows;
        }
    }

    #[inline(always)]
    fn store_results<S: Simd>(&self, simd: S, scratch: &TileScratch<'_>) {
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

/// Which keys of the tile the next `Q` queries see; each sees at least one.
#[inline(always)]
fn seen<const Q: usize>(positions: &[usize], first_key: usize, num_hidden: usize) -> Seen<Q> {
    let mut num_visible = [0; Q];
    for (count, position) in num_visible.iter_mut().zip(positions) {
        *count = TILE.min(position + 1 - first_key);
    }
    Seen { num_hidden, num_visible }
}

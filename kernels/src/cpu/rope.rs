//! Norms of heads, rotary position embedding, and the write of keys and values into the paged cache.

use crate::kv::KvLayout;
use crate::ops::RopeStyle;

use super::CpuDevice;
use super::cache_element::CacheElement;
use super::disjoint::Disjoint;
use super::isa::Task;
use super::norm::normalise;
use super::simd::{LANES, Simd};

/// Tokens that one unit turns.
const TOKENS_PER_UNIT: usize = 8;

/// What the tokens of a step share.
#[derive(Clone, Copy)]
pub(crate) struct Rope<'a> {
    /// `[tokens]`
    pub(crate) positions: &'a [u32],
    /// `[tokens]`
    pub(crate) slots: &'a [u32],
    /// `[positions, rotary_dim / 2]`
    pub(crate) cos: &'a [f32],
    /// `[positions, rotary_dim / 2]`
    pub(crate) sin: &'a [f32],
    /// Pairs of columns that turn.
    pub(crate) num_pairs: usize,
    pub(crate) style: RopeStyle,
    pub(crate) norms: Option<HeadNormWeights<'a>>,
    pub(crate) num_heads: usize,
    pub(crate) kv: KvLayout,
}

/// Each `[head_dim]`.
#[derive(Clone, Copy)]
pub(crate) struct HeadNormWeights<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) epsilon: f32,
}

/// Turns q and k in place in `qkv [tokens, (h + 2 g) * d]`, then writes k and v to the cache.
///
/// The second part goes head by head, so that threads write apart even if a caller's block tables
/// were to name one slot twice.
pub(crate) fn rope_and_cache<T: CacheElement>(
    cpu: &CpuDevice,
    rope: Rope<'_>,
    qkv: &mut [f32],
    keys: &mut [T],
    values: &mut [T],
) {
    let num_tokens = rope.positions.len();
    let num_kv_heads = rope.kv.num_kv_heads;
    let columns = rope.columns();
    let tokens = Disjoint::new(&mut *qkv);
    cpu.for_each_unit(num_tokens.div_ceil(TOKENS_PER_UNIT), &|_, unit| {
        for token in unit * TOKENS_PER_UNIT..num_tokens.min((unit + 1) * TOKENS_PER_UNIT) {
            // SAFETY: units are ranges of tokens that do not overlap.
            let qkv = unsafe { tokens.part(token * columns..(token + 1) * columns) };
            cpu.isa.run(TurnToken { rope, token, qkv });
        }
    });
    let heads_per_unit = if num_tokens <= TOKENS_PER_UNIT { num_kv_heads } else { 1 };
    let (keys, values) = (Disjoint::new(keys), Disjoint::new(values));
    let qkv = &*qkv;
    cpu.for_each_unit(num_kv_heads / heads_per_unit, &|_, unit| {
        for head in unit * heads_per_unit..(unit + 1) * heads_per_unit {
            let key_column = (rope.num_heads + head) * rope.kv.head_dim;
            let value_column = key_column + num_kv_heads * rope.kv.head_dim;
            cpu.isa.run(StoreHead { rope, qkv, head, column: key_column, cache: &keys });
            cpu.isa.run(StoreHead { rope, qkv, head, column: value_column, cache: &values });
        }
    });
}

impl Rope<'_> {
    /// Columns of `qkv`.
    fn columns(&self) -> usize {
        (self.num_heads + 2 * self.kv.num_kv_heads) * self.kv.head_dim
    }
}

/// One token's heads of q and k.
struct TurnToken<'a> {
    rope: Rope<'a>,
    token: usize,
    qkv: &'a mut [f32],
}

impl Task for TurnToken<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rope = self.rope;
        let angle = rope.positions[self.token] as usize * rope.num_pairs;
        let cos = &rope.cos[angle..angle + rope.num_pairs];
        let sin = &rope.sin[angle..angle + rope.num_pairs];
        let head_dim = rope.kv.head_dim;
        let num_turned = (rope.num_heads + rope.kv.num_kv_heads) * head_dim;
        let heads = self.qkv[..num_turned].chunks_exact_mut(head_dim);
        for (head_idx, head) in heads.enumerate() {
            if let Some(norms) = rope.norms {
                let weight = if head_idx < rope.num_heads { norms.q } else { norms.k };
                normalise(simd, head, weight, norms.epsilon);
            }
            turn(rope.style, head, cos, sin);
        }
    }
}

/// One head's keys (or values) of all tokens.
struct StoreHead<'a, T> {
    rope: Rope<'a>,
    qkv: &'a [f32],
    head: usize,
    /// Where the head begins in a row of `qkv`.
    column: usize,
    cache: &'a Disjoint<'a, T>,
}

impl<T: CacheElement> Task for StoreHead<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let KvLayout { num_kv_heads, block_size, head_dim, .. } = self.rope.kv;
        for (row, &slot) in self.qkv.chunks_exact(self.rope.columns()).zip(self.rope.slots) {
            let (block, offset) = (slot as usize / block_size, slot as usize % block_size);
            let start = ((block * num_kv_heads + self.head) * block_size + offset) * head_dim;
            // SAFETY: only this unit writes rows of this head.
            let target = unsafe { self.cache.part(start..start + head_dim) };
            store_head(simd, &row[self.column..self.column + head_dim], target);
        }
    }
}

/// Turns each pair of one head by its angle.
#[inline(always)]
fn turn(style: RopeStyle, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    match style {
        RopeStyle::Halves => {
            let (first, second) = head[..2 * cos.len()].split_at_mut(cos.len());
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
        RopeStyle::Neighbours => {
            for (([a, b], cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Writes one head, rounded to the cache's type.
#[inline(always)]
fn store_head<S: Simd, T: CacheElement>(simd: S, source: &[f32], target: &mut [T]) {
    let (vectors, rest) = source.as_chunks::<LANES>();
    assert!(rest.is_empty() && source.len() == target.len(), "heads have whole vectors");
    for (vector, to) in vectors.iter().zip(target.chunks_exact_mut(LANES)) {
        // SAFETY: the array holds sixteen values.
        T::store(simd, to, unsafe { simd.load(vector.as_ptr()) });
    }
}

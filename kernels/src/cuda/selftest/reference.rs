//! The kernels' mathematics in f64, in plain loops.

use half::f16;

use crate::weight::Quantisation;

/// `y = x w^T + bias`, `[m, n]`.
pub(super) fn linear(x: &[f64], w: &[f64], bias: Option<&[f64]>, [m, n, k]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for row in 0..m {
        for column in 0..n {
            let products = x[row * k..][..k].iter().zip(&w[column * k..][..k]);
            let sum: f64 = products.map(|(x, w)| x * w).sum();
            out[row * n + column] = sum + bias.map_or(0.0, |bias| bias[column]);
        }
    }
    out
}

/// Rounds rows of `k` numbers, symmetrically, as loading does: with the kernels' own f32 for scales, so that a number at
/// the middle of two codes goes to the same side.
pub(super) fn quantise(quantisation: Quantisation, numbers: &mut [f32], k: usize) {
    let (group, largest_code) = match quantisation {
        Quantisation::Int8 => (k, 127.0),
        Quantisation::Int4 => (128, 7.0),
        Quantisation::Fp8 => (k, 448.0),
    };
    for numbers in numbers.chunks_mut(k).flat_map(|row| row.chunks_mut(group)) {
        let largest = numbers.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = match quantisation {
            Quantisation::Int8 | Quantisation::Fp8 => largest / largest_code,
            Quantisation::Int4 => f16::from_f32(largest / largest_code).to_f32(),
        };
        for number in numbers {
            let code = if scale > 0.0 { (*number / scale).clamp(-largest_code, largest_code) } else { 0.0 };
            *number = scale * code_of(quantisation, code);
        }
    }
}

/// The code nearest to a number that is in range.
fn code_of(quantisation: Quantisation, x: f32) -> f32 {
    match quantisation {
        Quantisation::Int8 | Quantisation::Int4 => x.round_ties_even(),
        Quantisation::Fp8 => {
            // Three bits behind the first, and no step finer than that of subnormals.
            let step = 2.0_f32.powi((x.abs().log2().floor().max(-6.0) as i32) - 3);
            (x / step).round_ties_even() * step
        }
    }
}

pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

pub(super) fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// `gate(y[:, ..n / 2]) * y[:, n / 2..]`, `[m, n / 2]`.
pub(super) fn gated(y: &[f64], n: usize, gate: impl Fn(f64) -> f64) -> Vec<f64> {
    let half = n / 2;
    y.chunks_exact(n)
        .flat_map(|row| row[..half].iter().zip(&row[half..]).map(|(g, u)| gate(*g) * u))
        .collect()
}

/// `x / sqrt(mean(x^2) + epsilon) * weight` for each row.
pub(super) fn rms_norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let hidden = weight.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(hidden) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / hidden as f64;
        let scale = 1.0 / (mean + epsilon).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * scale * w));
    }
    out
}

/// Rotates one head by a row of the tables, `[rotary_dim / 2]` each.
pub(super) fn rotate(head: &mut [f64], cos: &[f64], sin: &[f64], interleaved: bool) {
    let half = cos.len();
    for pair in 0..half {
        let (first, second) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
        let (x, y) = (head[first], head[second]);
        head[first] = x * cos[pair] - y * sin[pair];
        head[second] = x * sin[pair] + y * cos[pair];
    }
}

/// What one query sees.
pub(super) struct Seen<'a> {
    /// Its sequence's blocks.
    pub(super) blocks: &'a [u32],
    /// The keys it may look at.
    pub(super) keys: std::ops::Range<usize>,
    /// Which KV head.
    pub(super) kv_head: usize,
}

/// A paged cache, `[blocks, kv_heads, block_size, head_dim]`.
pub(super) struct Cache<'a> {
    pub(super) k: &'a [f64],
    pub(super) v: &'a [f64],
    pub(super) kv_heads: usize,
    pub(super) block_size: usize,
    pub(super) head_dim: usize,
}

impl Cache<'_> {
    fn offset(&self, blocks: &[u32], kv_head: usize, key: usize) -> usize {
        let block = blocks[key / self.block_size] as usize;
        ((block * self.kv_heads + kv_head) * self.block_size + key % self.block_size) * self.head_dim
    }
}

/// `softmax(scale * q K^T) V` for one query of one head.
pub(super) fn attend(
    q: &[f64],
    cache: &Cache<'_>,
    seen: &Seen<'_>,
    scale: f64,
    softcap: Option<f64>,
) -> Vec<f64> {
    let mut scores = Vec::with_capacity(seen.keys.len());
    for key in seen.keys.clone() {
        let k = &cache.k[cache.offset(seen.blocks, seen.kv_head, key)..][..cache.head_dim];
        let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
        let score = dot * scale;
        scores.push(softcap.map_or(score, |cap| cap * (score / cap).tanh()));
    }
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; cache.head_dim];
    for (key, weight) in seen.keys.clone().zip(&weights) {
        let v = &cache.v[cache.offset(seen.blocks, seen.kv_head, key)..][..cache.head_dim];
        for (out, v) in out.iter_mut().zip(v) {
            *out += weight / total * v;
        }
    }
    out
}

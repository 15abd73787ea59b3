//! Attention against its reference, with windows and soft caps, and its independence of blocks, chunks and threads.

use super::*;
use crate::e4m3::E4m3;
use crate::kv::KvLayout;
use crate::ops::testing::{
    Random, TestRow, assert_close, assert_same_bits, batch, devices, tensor, values, workspace,
};
use crate::ops::{RopeArguments, RopeStyle, rope_and_cache};
use crate::tensor::Tensor;

const NUM_HEADS: usize = 6;
const NUM_KV_HEADS: usize = 2;

/// What a model may do besides.
#[derive(Debug, Clone, Copy, Default)]
struct Extras {
    window: Option<NonZeroUsize>,
    soft_cap: Option<f32>,
}

const PLAIN: Extras = Extras { window: None, soft_cap: None };

/// One whole sequence: `qkv [length, columns]` of every position.
struct Sequence {
    qkv: Vec<f32>,
    length: usize,
    head_dim: usize,
}

impl Sequence {
    fn new(length: usize, head_dim: usize, seed: u64) -> Self {
        let columns = (NUM_HEADS + 2 * NUM_KV_HEADS) * head_dim;
        let qkv = Random(seed).numbers(length * columns).iter().map(|x| x * 2.0).collect();
        Self { qkv, length, head_dim }
    }

    fn columns(&self) -> usize {
        (NUM_HEADS + 2 * NUM_KV_HEADS) * self.head_dim
    }

    fn head(&self, position: usize, head: usize) -> &[f32] {
        let start = position * self.columns() + head * self.head_dim;
        &self.qkv[start..start + self.head_dim]
    }

    /// Attention of every position, in f64, in plain loops: candle has no ragged paged attention.
    fn reference(&self, dtype: DType, extras: Extras) -> Vec<f64> {
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let mut out = Vec::new();
        for position in 0..self.length {
            let window = extras.window.map_or(usize::MAX, NonZeroUsize::get);
            let first = (position + 1).saturating_sub(window);
            for head in 0..NUM_HEADS {
                let kv_head = head / (NUM_HEADS / NUM_KV_HEADS);
                let scores: Vec<f64> = (first..=position)
                    .map(|key| {
                        let key = self.head(key, NUM_HEADS + kv_head);
                        let pairs = self.head(position, head).iter().zip(key);
                        let score =
                            scale * pairs.map(|(&q, &k)| f64::from(q) * stored(dtype, k)).sum::<f64>();
                        extras.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for column in 0..self.head_dim {
                    let weighted = weights.iter().enumerate().map(|(key, weight)| {
                        let value = self.head(first + key, NUM_HEADS + NUM_KV_HEADS + kv_head)[column];
                        weight * stored(dtype, value)
                    });
                    out.push(weighted.sum::<f64>() / total);
                }
            }
        }
        out
    }
}

/// A number after its rounding to the cache's type.
fn stored(dtype: DType, value: f32) -> f64 {
    match dtype {
        DType::F32 => f64::from(value),
        DType::F16 => half::f16::from_f32(value).to_f64(),
        DType::BF16 => half::bf16::from_f32(value).to_f64(),
        DType::E4M3 => E4m3::from_f32(value).to_f64(),
    }
}

/// A server in small: sequences with scattered blocks in one cache.
struct Bench<'a> {
    device: &'a Device,
    kv: PagedKv,
    sequences: &'a [Sequence],
    tables: Vec<Vec<u32>>,
    extras: Extras,
}

impl<'a> Bench<'a> {
    fn new(device: &'a Device, sequences: &'a [Sequence], block_size: usize, dtype: DType) -> Self {
        Self::with(device, sequences, block_size, dtype, PLAIN)
    }

    fn with(
        device: &'a Device,
        sequences: &'a [Sequence],
        block_size: usize,
        dtype: DType,
        extras: Extras,
    ) -> Self {
        let head_dim = sequences[0].head_dim;
        let mut next = 0;
        let mut tables = Vec::new();
        for sequence in sequences {
            // Blocks in falling order and with gaps, so that a wrong stride shows.
            let count = sequence.length.div_ceil(block_size) as u32;
            tables.push((0..count).map(|block| next + 2 * (count - 1 - block)).collect());
            next += 2 * count;
        }
        let layout =
            KvLayout { num_blocks: next as usize, num_kv_heads: NUM_KV_HEADS, block_size, head_dim, dtype };
        let kv = PagedKv::new(device, layout).expect("memory is there");
        Self { device, kv, sequences, tables, extras }
    }

    /// Computes positions `start..end` of some sequences in one step: `(sequence, start, end)`.
    fn step(&mut self, rows: &[(usize, usize, usize)]) -> Vec<Vec<f32>> {
        let head_dim = self.sequences[0].head_dim;
        let columns = self.sequences[0].columns();
        let mut input = Vec::new();
        let mut test_rows = Vec::new();
        for &(sequence, start, end) in rows {
            input.extend_from_slice(&self.sequences[sequence].qkv[start * columns..end * columns]);
            let blocks = self.tables[sequence].clone();
            test_rows.push(TestRow { tokens: vec![0; end - start], start: start as u32, blocks });
        }
        let batch = batch(self.kv.layout().block_size, &test_rows);
        let mut qkv = tensor(self.device, [batch.num_tokens(), columns], &input);
        let unturned = Tensor::zeros(self.device, DType::F32, [512, 0]).expect("memory is there");
        let rope = RopeArguments {
            cos: unturned.view(),
            sin: unturned.view(),
            style: RopeStyle::Halves,
            norms: None,
            num_heads: NUM_HEADS,
        };
        rope_and_cache(self.device, &batch, rope, qkv.view_mut(), &mut self.kv).expect("arguments fit");
        let width = NUM_HEADS * head_dim;
        let nothing = vec![f32::NAN; batch.num_tokens() * width];
        let mut out = tensor(self.device, [batch.num_tokens(), width], &nothing);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let Extras { window, soft_cap } = self.extras;
        let arguments = AttentionArguments {
            qkv: qkv.view(),
            kv: &self.kv,
            num_heads: NUM_HEADS,
            scale,
            window,
            soft_cap,
        };
        let mut workspace = workspace(self.device);
        attention(self.device, &mut workspace, &batch, arguments, out.view_mut()).expect("arguments fit");
        let out = values(&out);
        (0..rows.len())
            .map(|row| {
                let tokens = batch.row_tokens(row);
                out[tokens.start * width..tokens.end * width].to_vec()
            })
            .collect()
    }
}

#[test]
fn agrees_with_the_reference_for_every_type_head_and_instruction_set() {
    for head_dim in [16, 64, 80, 96, 128, 256] {
        let sequences = [Sequence::new(70, head_dim, 1)];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let expected = sequences[0].reference(dtype, PLAIN);
            let mut first: Option<Vec<f32>> = None;
            for device in devices() {
                let actual = Bench::new(&device, &sequences, 16, dtype).step(&[(0, 0, 70)]).remove(0);
                assert_close(&format!("{dtype} {head_dim} {device:?}"), &actual, &expected, 4e-6);
                let first = first.get_or_insert_with(|| actual.clone());
                assert_same_bits("instruction sets", &actual, first);
            }
        }
    }
}

fn window(keys: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(keys)
}

#[test]
fn agrees_with_the_reference_for_windows_and_soft_caps() {
    let sequences = [Sequence::new(140, 32, 4)];
    for keys in [1, 2, 17, 31, 32, 33, 64, 100, 139, 140, 1000] {
        for soft_cap in [None, Some(1.5)] {
            let extras = Extras { window: window(keys), soft_cap };
            let expected = sequences[0].reference(DType::F32, extras);
            let mut first: Option<Vec<f32>> = None;
            for device in devices() {
                let mut bench = Bench::with(&device, &sequences, 16, DType::F32, extras);
                let actual = bench.step(&[(0, 0, 140)]).remove(0);
                assert_close(&format!("{extras:?} {device:?}"), &actual, &expected, 4e-6);
                let first = first.get_or_insert_with(|| actual.clone());
                assert_same_bits("instruction sets", &actual, first);
            }
        }
    }
}

/// Goal: a window changes which keys are seen and nothing else. Method: what lies before it is not a number, and a
/// window as long as the sequence gives the bits of none.
#[test]
fn keys_before_the_window_are_never_touched() {
    let device = devices().remove(0);
    let mut sequences = [Sequence::new(140, 32, 4)];
    let whole = Bench::new(&device, &sequences, 16, DType::F32).step(&[(0, 0, 140)]).remove(0);
    let extras = Extras { window: window(140), soft_cap: None };
    let wide = Bench::with(&device, &sequences, 16, DType::F32, extras).step(&[(0, 0, 140)]).remove(0);
    assert_same_bits("a window of the whole", &wide, &whole);
    let extras = Extras { window: window(40), soft_cap: None };
    let clean = Bench::with(&device, &sequences, 16, DType::F32, extras).step(&[(0, 0, 140)]).remove(0);
    let columns = sequences[0].columns();
    sequences[0].qkv[..80 * columns].fill(f32::NAN);
    let spoiled = Bench::with(&device, &sequences, 16, DType::F32, extras).step(&[(0, 0, 140)]).remove(0);
    let seen = 119 * NUM_HEADS * 32;
    assert_same_bits("positions from 119 on", &spoiled[seen..], &clean[seen..]);
    assert!(spoiled[seen - 1].is_nan(), "position 118 still sees key 79");
}

/// Goal: a token's result has the same bits whatever the blocks, chunks, company and threads.
/// Method: three sequences, computed whole and alone, then in ragged steps together.
#[test]
fn results_do_not_depend_on_blocks_chunks_company_or_threads() {
    let sequences = [Sequence::new(75, 32, 1), Sequence::new(40, 32, 2), Sequence::new(33, 32, 3)];
    let windowed = Extras { window: window(21), soft_cap: Some(2.0) };
    for (device, extras) in
        devices().into_iter().flat_map(|device| [(device.clone(), PLAIN), (device, windowed)])
    {
        let alone: Vec<Vec<f32>> = (0..3)
            .map(|sequence| {
                let rows = [(sequence, 0, sequences[sequence].length)];
                Bench::with(&device, &sequences, 16, DType::F16, extras).step(&rows).remove(0)
            })
            .collect();
        for block_size in [1, 8, 16, 32, 48] {
            for chunk in [1, 7, 48] {
                let mut bench = Bench::with(&device, &sequences, block_size, DType::F16, extras);
                let mut computed = vec![Vec::new(); 3];
                for start in (0..75).step_by(chunk) {
                    let rows: Vec<(usize, usize, usize)> = (0..3)
                        .map(|sequence| (sequence, start, sequences[sequence].length.min(start + chunk)))
                        .filter(|&(_, start, end)| start < end)
                        .collect();
                    for (out, (sequence, _, _)) in bench.step(&rows).into_iter().zip(rows) {
                        computed[sequence].extend(out);
                    }
                }
                for (sequence, computed) in computed.iter().enumerate() {
                    let what =
                        format!("{extras:?} sequence {sequence}, blocks of {block_size}, chunks of {chunk}");
                    assert_same_bits(&what, computed, &alone[sequence]);
                }
            }
        }
    }
}

#[test]
fn no_rows_are_fine_and_wrong_heads_are_not() {
    let device = devices().remove(0);
    let sequences = [Sequence::new(4, 16, 1)];
    assert!(Bench::new(&device, &sequences, 4, DType::F32).step(&[]).is_empty());
    let kv = Bench::new(&device, &sequences, 4, DType::F32).kv;
    let qkv = tensor(&device, [0, 0], &[]);
    let mut out = tensor(&device, [0, 0], &[]);
    let arguments = AttentionArguments {
        qkv: qkv.view(),
        kv: &kv,
        num_heads: 3,
        scale: 1.0,
        window: None,
        soft_cap: None,
    };
    let result = attention(&device, &mut workspace(&device), &batch(4, &[]), arguments, out.view_mut());
    let message = "`num_heads` is 3, but must be a multiple of the cache's heads";
    assert_eq!(result.expect_err("heads do not divide").to_string(), message);
}

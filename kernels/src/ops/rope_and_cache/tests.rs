//! Rotation and cache writes against their reference.

use half::{bf16, f16};

use super::*;
use crate::e4m3::E4m3;
use crate::ops::testing::{Random, TestRow, assert_close, batch, devices, tensor, values};

/// One head turned, in f64.
fn turned(style: RopeStyle, head: &[f32], position: usize, num_pairs: usize) -> Vec<f64> {
    let mut out: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
    for pair in 0..num_pairs {
        let (a, b) = match style {
            RopeStyle::Halves => (pair, pair + num_pairs),
            RopeStyle::Neighbours => (2 * pair, 2 * pair + 1),
        };
        let (sin, cos) = angle(position, pair, num_pairs).sin_cos();
        let (first, second) = (f64::from(head[a]), f64::from(head[b]));
        out[a] = first * cos - second * sin;
        out[b] = second * cos + first * sin;
    }
    out
}

fn angle(position: usize, pair: usize, num_pairs: usize) -> f64 {
    position as f64 * 10_000_f64.powf(-(pair as f64) / num_pairs as f64)
}

fn table(device: &Device, num_pairs: usize, function: impl Fn(f64) -> f64) -> crate::tensor::Tensor {
    let numbers: Vec<f32> = (0..64)
        .flat_map(|position| (0..num_pairs).map(move |pair| angle(position, pair, num_pairs)))
        .map(|angle| function(angle) as f32)
        .collect();
    tensor(device, [64, num_pairs], &numbers)
}

/// A stored number as f32, and the rounding that its type may add.
fn rounded(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F32 => value,
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        DType::E4M3 => E4m3::from_f32(value as f32).to_f64(),
    }
}

/// One head normalised, in f64.
fn normalised(head: &[f32], weight: &[f32], epsilon: f64) -> Vec<f32> {
    let square = head.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / head.len() as f64;
    let factor = 1.0 / (square + epsilon).sqrt();
    head.iter().zip(weight).map(|(&x, &weight)| (f64::from(x) * factor * f64::from(weight)) as f32).collect()
}

/// Turns a decode and a chunk together, and looks at q in place, and at k and v in the cache.
fn check(device: &Device, style: RopeStyle, dtype: DType, num_pairs: usize, with_norms: bool) {
    let (num_heads, num_kv_heads, head_dim, block_size) = (4, 2, 32, 8);
    let columns = (num_heads + 2 * num_kv_heads) * head_dim;
    let rows = [
        TestRow { tokens: vec![0], start: 19, blocks: vec![5, 2, 7] },
        TestRow { tokens: vec![0; 11], start: 3, blocks: vec![1, 6] },
    ];
    let batch = batch(block_size, &rows);
    let input = Random(3).numbers(12 * columns);
    let mut qkv = tensor(device, [12, columns], &input);
    let layout = KvLayout { num_blocks: 8, num_kv_heads, block_size, head_dim, dtype };
    let mut kv = PagedKv::new(device, layout).expect("memory is there");
    let (cos, sin) = (table(device, num_pairs, f64::cos), table(device, num_pairs, f64::sin));
    let norm_weights = [Random(4).numbers(head_dim), Random(5).numbers(head_dim)];
    let [q, k] = norm_weights.each_ref().map(|weight| tensor(device, [1, head_dim], weight));
    let norms = with_norms.then(|| HeadNorms { q: q.view(), k: k.view(), epsilon: 1e-3 });
    let arguments = RopeArguments { cos: cos.view(), sin: sin.view(), style, norms, num_heads };
    rope_and_cache(device, &batch, arguments, qkv.view_mut(), &mut kv).expect("arguments fit");
    let out = values(&qkv);
    let cache_len = 8 * num_kv_heads * block_size * head_dim;
    let (mut keys, mut stored) = (vec![0.0; cache_len], vec![0.0; cache_len]);
    kv.keys().view().read_f32(&mut keys).expect("length fits");
    kv.values().view().read_f32(&mut stored).expect("length fits");
    let tolerance = if dtype == DType::F32 { 1e-6 } else { 8e-3 };
    for token in 0..12 {
        let (position, slot) = (batch.positions()[token] as usize, batch.slots()[token] as usize);
        let (block, offset) = (slot / block_size, slot % block_size);
        for head in 0..num_heads + 2 * num_kv_heads {
            let start = token * columns + head * head_dim;
            let range = start..start + head_dim;
            let source = &input[range.clone()];
            let place = |head: usize| ((block * num_kv_heads + head) * block_size + offset) * head_dim;
            if head < num_heads + num_kv_heads {
                let weight = &norm_weights[usize::from(head >= num_heads)];
                let source = if with_norms { normalised(source, weight, 1e-3) } else { source.to_vec() };
                let expected = turned(style, &source, position, num_pairs);
                assert_close("q or k", &out[range], &expected, 1e-6);
                if head >= num_heads {
                    let at = place(head - num_heads);
                    let expected: Vec<f64> = expected.iter().map(|&x| rounded(dtype, x)).collect();
                    assert_close("key", &keys[at..at + head_dim], &expected, tolerance);
                }
            } else {
                let at = place(head - num_heads - num_kv_heads);
                let expected: Vec<f64> = source.iter().map(|&x| rounded(dtype, f64::from(x))).collect();
                assert_close("value", &stored[at..at + head_dim], &expected, 0.0);
            }
        }
    }
    let written = keys.chunks(head_dim).filter(|row| row.iter().any(|&x| x != 0.0)).count();
    assert_eq!(written, 12 * num_kv_heads, "no other slot is written");
}

#[test]
fn agrees_with_the_reference_for_every_style_type_and_instruction_set() {
    for device in devices() {
        for style in [RopeStyle::Halves, RopeStyle::Neighbours] {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                for num_pairs in [16, 10] {
                    for with_norms in [false, true] {
                        check(&device, style, dtype, num_pairs, with_norms);
                    }
                }
            }
        }
    }
}

#[test]
fn refuses_what_lies_outside_table_and_cache() {
    let device = devices().remove(0);
    let layout = KvLayout { num_blocks: 8, num_kv_heads: 1, block_size: 8, head_dim: 16, dtype: DType::F32 };
    let mut kv = PagedKv::new(&device, layout).expect("memory is there");
    let (cos, sin) = (table(&device, 8, f64::cos), table(&device, 8, f64::sin));
    let arguments = RopeArguments {
        cos: cos.view(),
        sin: sin.view(),
        style: RopeStyle::Halves,
        norms: None,
        num_heads: 1,
    };
    let mut qkv = tensor(&device, [1, 48], &[0.0; 48]);
    for (block_size, start, block, message) in [
        (8, 64, 0, "`positions` is 65, limit 64"),
        (8, 0, 8, "`blocks named by the batch` is 9, limit 8"),
        (16, 0, 0, "`block_size of the batch` is 16, but must equal the block size of the KV cache"),
    ] {
        let blocks = vec![block; start as usize / block_size + 1];
        let batch = batch(block_size, &[TestRow { tokens: vec![0], start, blocks }]);
        let result = rope_and_cache(&device, &batch, arguments, qkv.view_mut(), &mut kv);
        assert_eq!(result.expect_err("outside").to_string(), message);
    }
}

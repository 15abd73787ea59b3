//! Row kernels against the reference.

use super::super::error::CudaError;
use super::super::ops::rows::{self, Delta, Gate, HeadShape, PADDING_SLOT, Rope, RopePairs};
use super::{Check, Run, reference, widen};

/// Outputs in bf16: half a step of its last place, and what inputs rounded on the way add.
const BF16_LIMIT: f64 = 4e-3;
/// Outputs in f32.
const F32_LIMIT: f64 = 2e-6;

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for (tokens, vocab, hidden) in [(1, 3, 8), (5, 100, 64), (33, 1000, 1544), (7, 50, 4096)] {
        gather(run, tokens, vocab, hidden)?;
    }
    for (tokens, hidden) in [(1, 8), (3, 576), (17, 1544), (2, 4096), (129, 5120), (1, 16_384)] {
        for delta in [DeltaKind::None, DeltaKind::Plain, DeltaKind::Normed] {
            add_rms_norm(run, tokens, hidden, delta)?;
        }
    }
    for (tokens, ffn) in [(1, 8), (3, 1536), (19, 2056), (5, 14_336)] {
        add_bias(run, tokens, ffn)?;
        gated_act(run, tokens, ffn, Gate::Silu)?;
        gated_act(run, tokens, ffn, Gate::GeluTanh)?;
    }
    for (len, cap) in [(1, 30.0), (1031, 50.0), (300_001, 30.0)] {
        soft_cap(run, len, cap)?;
    }
    for block_elements in [8, 16 * 128, 16 * 8 * 128] {
        block_copy(run, block_elements)?;
    }
    for case in ROPE_CASES {
        rope_and_cache(run, case)?;
    }
    Ok(())
}

fn gather<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    rows: usize,
    rows_in: usize,
    columns: usize,
) -> Result<(), CudaError> {
    let indices: Vec<u32> = (0..rows).map(|_| run.random.below(rows_in) as u32).collect();
    let (x, host) = run.random_bf16(rows_in * columns, 1.0)?;
    let device_indices = run.device.upload_new("a test's input", &indices)?;
    let mut out = run.poisoned(rows * columns)?;
    rows::gather_rows(run.device, x.as_slice(), device_indices.as_slice(), &mut out.as_mut_slice(), columns)?;
    let host = widen(&host);
    let expected: Vec<f64> =
        indices.iter().flat_map(|&row| &host[row as usize * columns..][..columns]).copied().collect();
    let out = run.values(&out)?;
    run.compare("gather_rows", format!("rows {rows} of {rows_in} columns {columns}"), &out, &expected, 0.0);
    Ok(())
}

/// What is added to the residual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeltaKind {
    None,
    Plain,
    Normed,
}

fn add_rms_norm<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    tokens: usize,
    hidden: usize,
    kind: DeltaKind,
) -> Result<(), CudaError> {
    let epsilon = 1e-5;
    let (mut residual, residual_host) = run.random_f32(tokens * hidden, 0.1, 2.0)?;
    let (delta, delta_host) = run.random_bf16(tokens * hidden, 1.0)?;
    let (weight, weight_host) = run.random_f32(hidden, 1.0, 0.5)?;
    let (delta_weight, delta_weight_host) = run.random_f32(hidden, 0.5, 1.0)?;
    let norm = (kind == DeltaKind::Normed).then(|| delta_weight.as_slice());
    let mut out = run.poisoned(tokens * hidden)?;
    rows::add_rms_norm(
        run.device,
        &mut residual.as_mut_slice(),
        (kind != DeltaKind::None).then(|| Delta { x: delta.as_slice(), norm }),
        weight.as_slice(),
        epsilon,
        &mut out.as_mut_slice(),
    )?;
    let mut sum = widen(&residual_host);
    let added = match kind {
        DeltaKind::None => vec![0.0; sum.len()],
        DeltaKind::Plain => widen(&delta_host),
        DeltaKind::Normed => {
            reference::rms_norm(&widen(&delta_host), &widen(&delta_weight_host), f64::from(epsilon))
        }
    };
    for (sum, added) in sum.iter_mut().zip(added) {
        *sum += added;
    }
    let expected = reference::rms_norm(&sum, &widen(&weight_host), f64::from(epsilon));
    let shape = format!("tokens {tokens} hidden {hidden} delta {kind:?}");
    let residual = run.values(&residual)?;
    run.compare("add_rms_norm residual", shape.clone(), &residual, &sum, F32_LIMIT);
    let out = run.values(&out)?;
    run.compare("add_rms_norm", shape, &out, &expected, BF16_LIMIT);
    Ok(())
}

fn add_bias<F: FnMut(&Check)>(run: &mut Run<'_, F>, tokens: usize, n: usize) -> Result<(), CudaError> {
    let (mut x, host) = run.random_bf16(tokens * n, 6.0)?;
    let (bias, bias_host) = run.random_f32(n, 0.0, 2.0)?;
    rows::add_bias(run.device, &mut x.as_mut_slice(), bias.as_slice())?;
    let biases = bias_host.iter().cycle().map(|&bias| f64::from(bias));
    let expected: Vec<f64> = widen(&host).iter().zip(biases).map(|(x, bias)| x + bias).collect();
    let out = run.values(&x)?;
    run.compare("add_bias", format!("tokens {tokens} n {n}"), &out, &expected, BF16_LIMIT);
    Ok(())
}

fn gated_act<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    tokens: usize,
    ffn: usize,
    gate: Gate,
) -> Result<(), CudaError> {
    let (gate_up, host) = run.random_bf16(tokens * 2 * ffn, 6.0)?;
    let mut out = run.poisoned(tokens * ffn)?;
    rows::gated_act(run.device, gate_up.as_slice(), gate, &mut out.as_mut_slice(), ffn)?;
    let expected = match gate {
        Gate::Silu => reference::gated(&widen(&host), 2 * ffn, reference::silu),
        Gate::GeluTanh => reference::gated(&widen(&host), 2 * ffn, reference::gelu_tanh),
    };
    let out = run.values(&out)?;
    run.compare("gated_act", format!("tokens {tokens} ffn {ffn} {gate:?}"), &out, &expected, BF16_LIMIT);
    Ok(())
}

fn soft_cap<F: FnMut(&Check)>(run: &mut Run<'_, F>, len: usize, cap: f32) -> Result<(), CudaError> {
    let (mut x, host) = run.random_f32(len, 1.0, 100.0)?;
    rows::soft_cap(run.device, cap, &mut x.as_mut_slice())?;
    let cap = f64::from(cap);
    let expected: Vec<f64> = widen(&host).iter().map(|x| cap * (x / cap).tanh()).collect();
    let out = run.values(&x)?;
    run.compare("soft_cap", format!("len {len} cap {cap}"), &out, &expected, F32_LIMIT);
    Ok(())
}

fn block_copy<F: FnMut(&Check)>(run: &mut Run<'_, F>, block_elements: usize) -> Result<(), CudaError> {
    let (num_blocks, pairs) = (11, [(3, 7), (10, 0), (3, 1)]);
    let (mut cache, host) = run.random_bf16(num_blocks * block_elements, 1.0)?;
    let flat: Vec<u32> = pairs.iter().flat_map(|&(from, to)| [from as u32, to as u32]).collect();
    let device_pairs = run.device.upload_new("a test's input", &flat)?;
    rows::block_copy(run.device, &mut cache.as_mut_slice(), device_pairs.as_slice(), block_elements)?;
    let mut expected = widen(&host);
    for (from, to) in pairs {
        expected.copy_within(from * block_elements..(from + 1) * block_elements, to * block_elements);
    }
    let out = run.values(&cache)?;
    run.compare("block_copy", format!("3 of {num_blocks} blocks of {block_elements}"), &out, &expected, 0.0);
    Ok(())
}

/// One shape of [`rope_and_cache`].
#[derive(Debug, Clone, Copy)]
struct RopeCase {
    tokens: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rotary_dim: usize,
    block_size: usize,
    pairs: RopePairs,
    norms: bool,
}

const LLAMA: RopeCase = RopeCase {
    tokens: 7,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    rotary_dim: 128,
    block_size: 16,
    pairs: RopePairs::Halves,
    norms: false,
};

const ROPE_CASES: [RopeCase; 6] = [
    LLAMA,
    RopeCase { norms: true, tokens: 1, ..LLAMA },
    RopeCase { heads: 9, kv_heads: 3, head_dim: 64, rotary_dim: 64, tokens: 33, ..LLAMA },
    RopeCase { heads: 4, kv_heads: 1, head_dim: 256, rotary_dim: 64, block_size: 32, ..LLAMA },
    RopeCase { pairs: RopePairs::Interleaved, ..LLAMA },
    RopeCase { head_dim: 96, rotary_dim: 96, heads: 5, kv_heads: 5, norms: true, ..LLAMA },
];

fn rope_and_cache<F: FnMut(&Check)>(run: &mut Run<'_, F>, case: RopeCase) -> Result<(), CudaError> {
    let RopeCase { tokens, heads, kv_heads, head_dim, rotary_dim, block_size, .. } = case;
    let shape = HeadShape { heads, kv_heads, head_dim, block_size };
    let (blocks, max_positions) = (tokens.div_ceil(block_size) + 3, 50);
    let half = rotary_dim / 2;
    let positions: Vec<u32> = (0..tokens).map(|_| run.random.below(max_positions) as u32).collect();
    // Every token a place of its own, but one that is there only to fill up the batch.
    let mut slots = run.random.permutation(blocks * block_size);
    slots.truncate(tokens);
    if tokens > 1 {
        slots[tokens / 2] = PADDING_SLOT;
    }
    let (mut qkv, qkv_host) = run.random_bf16(tokens * shape.qkv_columns(), 2.0)?;
    let angles: Vec<f32> = (0..max_positions * half).map(|_| run.random.signed() * 3.0).collect();
    let cos: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
    let sin: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
    let (q_norm, q_norm_host) = run.random_f32(head_dim, 1.0, 0.5)?;
    let (k_norm, k_norm_host) = run.random_f32(head_dim, 1.0, 0.5)?;
    let cache_len = blocks * shape.block_elements();
    let (mut k_cache, k_host) = run.random_bf16(cache_len, 1.0)?;
    let (mut v_cache, v_host) = run.random_bf16(cache_len, 1.0)?;
    let device_positions = run.device.upload_new("a test's input", &positions)?;
    let device_slots = run.device.upload_new("a test's input", &slots)?;
    let device_cos = run.device.upload_new("a test's input", &cos)?;
    let device_sin = run.device.upload_new("a test's input", &sin)?;
    let epsilon = 1e-6;
    let rope = Rope {
        positions: device_positions.as_slice(),
        slots: device_slots.as_slice(),
        cos: device_cos.as_slice(),
        sin: device_sin.as_slice(),
        rotary_dim,
        pairs: case.pairs,
        q_norm: case.norms.then(|| q_norm.as_slice()),
        k_norm: case.norms.then(|| k_norm.as_slice()),
        epsilon,
    };
    rows::rope_and_cache(
        run.device,
        &mut qkv.as_mut_slice(),
        &rope,
        &mut k_cache.as_mut_slice(),
        &mut v_cache.as_mut_slice(),
        shape,
    )?;

    let (mut qkv_ref, mut k_ref, mut v_ref) = (widen(&qkv_host), widen(&k_host), widen(&v_host));
    let (cos, sin) = (widen(&cos), widen(&sin));
    let (q_norm, k_norm) = (widen(&q_norm_host), widen(&k_norm_host));
    for token in 0..tokens {
        let table = positions[token] as usize * half;
        let row = &mut qkv_ref[token * shape.qkv_columns()..][..shape.qkv_columns()];
        for (head_idx, head) in row.chunks_exact_mut(head_dim).enumerate() {
            if head_idx < heads + kv_heads {
                let weight = if head_idx < heads { &q_norm } else { &k_norm };
                if case.norms {
                    head.copy_from_slice(&reference::rms_norm(head, weight, f64::from(epsilon)));
                }
                let interleaved = case.pairs == RopePairs::Interleaved;
                reference::rotate(head, &cos[table..][..half], &sin[table..][..half], interleaved);
            }
            let slot = slots[token];
            if head_idx < heads || slot == PADDING_SLOT {
                continue;
            }
            let (block, offset) = (slot as usize / block_size, slot as usize % block_size);
            let is_key = head_idx < heads + kv_heads;
            let kv_head = if is_key { head_idx - heads } else { head_idx - heads - kv_heads };
            let start = ((block * kv_heads + kv_head) * block_size + offset) * head_dim;
            let cache = if is_key { &mut k_ref } else { &mut v_ref };
            cache[start..][..head_dim].copy_from_slice(head);
        }
    }
    let name = format!(
        "tokens {tokens} heads {heads}/{kv_heads} dim {head_dim}/{rotary_dim} norms {} {:?}",
        case.norms, case.pairs
    );
    let out = run.values(&qkv)?;
    run.compare("rope_and_cache qkv", name.clone(), &out, &qkv_ref, BF16_LIMIT);
    let out = run.values(&k_cache)?;
    run.compare("rope_and_cache k", name.clone(), &out, &k_ref, BF16_LIMIT);
    let out = run.values(&v_cache)?;
    run.compare("rope_and_cache v", name, &out, &v_ref, 0.0);
    Ok(())
}

//! The cases of the bench: products, row kernels, decode attention, argmax, and a copy as the yardstick.

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::error::CudaError;
use super::super::ops::attention::{self, DecodeInput, DecodeScratch};
use super::super::ops::embedding::{EmbeddingTable, embed};
use super::super::ops::fill;
use super::super::ops::linear::{self, Product, ProductOutput, SkinnyVariant};
use super::super::ops::paged::PagedInput;
use super::super::ops::rows::{self, Delta, Gate, HeadShape, Rope, RopePairs};
use super::super::ops::step::{self, ARGMAX_SCRATCH_PER_ROW, ArgmaxOutput};
use super::{BenchRun, Label, Measurement};

const HIDDEN: usize = 4096;
const FFN: usize = 14_336;
const VOCAB: usize = 128_256;
const SHAPE: HeadShape = HeadShape { heads: 32, kv_heads: 8, head_dim: 128, block_size: 16 };
/// Rotating sets of buffers hold at least so much together: several times an H100's L2.
const ROTATION_BYTES: usize = 400 << 20;
/// Row counts of decode steps.
const ROWS: [usize; 6] = [1, 8, 16, 32, 64, 128];

pub(super) fn run<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    copy(run)?;
    products(run)?;
    for tokens in [1, 32, 128, 2048] {
        row_kernels(run, tokens)?;
    }
    for (seqs, context) in [(1, 1024), (1, 8192), (8, 1024), (32, 1024), (128, 1024)] {
        decode(run, seqs, context)?;
    }
    for rows in [1, 32, 128] {
        argmax(run, rows)?;
    }
    Ok(())
}

/// So many sets that together they do not fit the caches.
fn num_sets(bytes: usize) -> usize {
    (ROTATION_BYTES / bytes.max(1)).clamp(2, 24)
}

fn random<F>(run: &BenchRun<'_, F>, len: usize, seed: u64) -> Result<DeviceBuffer<bf16>, CudaError> {
    let mut buffer = run.device.alloc("a bench's input", len)?;
    fill::random_bf16(run.device, &mut buffer.as_mut_slice(), seed, 0.05)?;
    Ok(buffer)
}

fn copy<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    let len = 1 << 29;
    let from = random(run, len, 1)?;
    let mut to = run.device.alloc("a bench's output", len)?;
    let device = run.device;
    let label =
        Label { name: "copy (cuMemcpyDtoD)", shape: "1 GiB".to_owned(), bytes: 4 * len, operations: 0 };
    run.measure(label, 1, |_| device.copy(from.as_slice(), &mut to.as_mut_slice()))
}

fn products<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    for (name, n, k) in [
        ("qkv", SHAPE.qkv_columns(), HIDDEN),
        ("o", HIDDEN, HIDDEN),
        ("gate_up", 2 * FFN, HIDDEN),
        ("down", HIDDEN, FFN),
        ("lm_head", VOCAB, HIDDEN),
    ] {
        let sets = num_sets(2 * n * k);
        let weights = (0..sets).map(|set| random(run, n * k, set as u64)).collect::<Result<Vec<_>, _>>()?;
        for m in ROWS {
            product(run, name, &weights, [m, n, k])?;
        }
        if n != VOCAB {
            product(run, name, &weights, [2048, n, k])?;
        }
    }
    Ok(())
}

/// One product as a step asks for it, by the skinny kernel and by cuBLASLt.
fn product<F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    name: &str,
    weights: &[DeviceBuffer<bf16>],
    [m, n, k]: [usize; 3],
) -> Result<(), CudaError> {
    let device = run.device;
    let x = random(run, m * k, 99)?;
    let mut out = run.device.alloc::<bf16>("a bench's output", m * n)?;
    let label = |name, shape: String| Label {
        name,
        shape,
        bytes: 2 * (n * k + m * k + m * n),
        operations: 2 * m * n * k,
    };
    let of = |set: usize| Product { x: x.as_slice(), w: weights[set].as_slice(), bias: None, m, n, k };
    let variant = SkinnyVariant::for_rows(m);
    if m <= 128 {
        let shape = format!("{name} {m} x {n} x {k}");
        run.measure(label(variant.name(), shape), weights.len(), |set| {
            let out = ProductOutput::Bf16(out.as_mut_slice());
            linear::skinny(device, variant, &of(set), &out)
        })?;
    }
    if m <= 128 && name == "gate_up" {
        let mut gated = run.device.alloc::<bf16>("a bench's output", m * n / 2)?;
        let shape = format!("{name} silu {m} x {n} x {k}");
        run.measure(label(variant.name(), shape), weights.len(), |set| {
            let out = ProductOutput::SiluGated(gated.as_mut_slice());
            linear::skinny(device, variant, &of(set), &out)
        })?;
    }
    if let Some(blas) = device.blas() {
        let shape = format!("{name} {m} x {n} x {k}");
        run.measure(label("cublaslt", shape), weights.len(), |set| {
            let w = weights[set].as_slice();
            blas.product(x.as_slice(), w, &mut out.as_mut_slice(), [m, n, k])
        })?;
    }
    Ok(())
}

fn row_kernels<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>, tokens: usize) -> Result<(), CudaError> {
    let device = run.device;
    let shape = format!("tokens {tokens}");
    let label = |name, bytes| Label { name, shape: shape.clone(), bytes, operations: 0 };
    // Activations of a step stay in the caches in reality, so one set is what there is.
    let ids = device.alloc_zeros::<u32>("a bench's input", tokens)?;
    let table = random(run, VOCAB * HIDDEN, 5)?;
    let mut residual = device.alloc_zeros::<f32>("a bench's input", tokens * HIDDEN)?;
    run.measure(label("embed", tokens * HIDDEN * 6), 8, |_| {
        let mut residual = residual.as_mut_slice();
        let table = EmbeddingTable::bf16([VOCAB, HIDDEN], table.as_slice())?;
        embed(device, ids.as_slice(), table, None, &mut residual)
    })?;
    let delta = random(run, tokens * HIDDEN, 6)?;
    let norm = device.upload_new("a bench's input", &vec![1.0_f32; HIDDEN])?;
    let mut normed = random(run, tokens * HIDDEN, 7)?;
    run.measure(label("add_rms_norm", tokens * HIDDEN * 12), 8, |_| {
        let mut residual = residual.as_mut_slice();
        let delta = Some(Delta { x: delta.as_slice(), norm: None });
        let mut out = normed.as_mut_slice();
        rows::add_rms_norm(device, &mut residual, delta, norm.as_slice(), 1e-5, &mut out)
    })?;
    let gate_up = random(run, tokens * 2 * FFN, 8)?;
    let mut gated = random(run, tokens * FFN, 9)?;
    run.measure(label("gated_act", tokens * FFN * 6), 8, |_| {
        let mut out = gated.as_mut_slice();
        rows::gated_act(device, gate_up.as_slice(), Gate::Silu, &mut out, FFN)
    })?;
    let columns = SHAPE.qkv_columns();
    let mut qkv = random(run, tokens * columns, 10)?;
    let blocks = tokens.div_ceil(SHAPE.block_size);
    let mut k_cache = random(run, blocks * SHAPE.block_elements(), 11)?;
    let mut v_cache = random(run, blocks * SHAPE.block_elements(), 12)?;
    let slots: Vec<u32> = (0..tokens as u32).collect();
    let slots = device.upload_new("a bench's input", &slots)?;
    let half = SHAPE.head_dim / 2;
    let cos = device.upload_new("a bench's input", &vec![0.6_f32; tokens * half])?;
    let sin = device.upload_new("a bench's input", &vec![0.8_f32; tokens * half])?;
    let rope = Rope {
        positions: slots.as_slice(),
        slots: slots.as_slice(),
        cos: cos.as_slice(),
        sin: sin.as_slice(),
        rotary_dim: SHAPE.head_dim,
        pairs: RopePairs::Halves,
        q_norm: None,
        k_norm: None,
        epsilon: 1e-5,
    };
    let moved = SHAPE.heads * 2 + SHAPE.kv_heads * 5;
    run.measure(label("rope_and_cache", tokens * moved * SHAPE.head_dim * 2), 8, |_| {
        let (mut k, mut v) = (k_cache.as_mut_slice(), v_cache.as_mut_slice());
        rows::rope_and_cache(device, &mut qkv.as_mut_slice(), &rope, &mut k, &mut v, SHAPE)
    })
}

fn decode<F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    seqs: usize,
    context: usize,
) -> Result<(), CudaError> {
    let device = run.device;
    let table_stride = context.div_ceil(SHAPE.block_size);
    let blocks = seqs * table_stride;
    let cache_len = blocks * SHAPE.block_elements();
    let sets = num_sets(4 * cache_len).min(8);
    let caches = (0..sets)
        .map(|set| {
            let seed = 20 + 2 * set as u64;
            Ok((random(run, cache_len, seed)?, random(run, cache_len, seed + 1)?))
        })
        .collect::<Result<Vec<_>, CudaError>>()?;
    let qkv = random(run, seqs * SHAPE.qkv_columns(), 3)?;
    // Blocks far apart, as in a pool that has been used for a while.
    let tables: Vec<u32> = (0..blocks).map(|index| (index * 7919 % blocks) as u32).collect();
    let tables = device.upload_new("a bench's input", &tables)?;
    let kv_lens = device.upload_new("a bench's input", &vec![context as u32; seqs])?;
    let mut out = random(run, seqs * SHAPE.heads * SHAPE.head_dim, 4)?;
    for split in [64, 128, 256, 512, 1024] {
        if context.div_ceil(split) > 64 || split > context {
            continue;
        }
        let split_keys = device.upload_new("a bench's input", &[split as u32])?;
        let max_splits = context.div_ceil(split);
        let sizes = [SHAPE.heads, SHAPE.head_dim];
        let mut scratch = DecodeScratch::new(device, sizes, seqs, seqs * max_splits)?;
        let label = Label {
            name: "paged_decode_bf16_d128",
            shape: format!("seqs {seqs} context {context} split {split}"),
            bytes: 4 * cache_len,
            operations: 0,
        };
        run.measure(label, sets, |set| {
            let (k_cache, v_cache) = &caches[set];
            let paged = PagedInput {
                qkv: qkv.as_slice(),
                k_cache: k_cache.as_slice(),
                v_cache: v_cache.as_slice(),
                block_tables: tables.as_slice(),
                table_stride,
                kv_lens: kv_lens.as_slice(),
                shape: SHAPE,
                window: None,
                scale: 0.088,
                softcap: None,
            };
            let split_keys = split_keys.as_slice();
            let input = DecodeInput { paged, query_rows: None, split_keys, max_splits };
            attention::paged_decode(device, &input, &mut scratch, &mut out.as_mut_slice())
        })?;
    }
    Ok(())
}

fn argmax<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>, rows: usize) -> Result<(), CudaError> {
    let device = run.device;
    let mut logits = device.alloc::<f32>("a bench's input", rows * VOCAB)?;
    fill::random_f32(device, &mut logits.as_mut_slice(), 1, [-8.0, 8.0])?;
    let mut tokens = device.alloc::<u32>("a bench's output", rows)?;
    let mut logprobs = device.alloc::<f32>("a bench's output", rows)?;
    let mut scratch = device.alloc::<f32>("a bench's output", rows * ARGMAX_SCRATCH_PER_ROW)?;
    let label = Label {
        name: "argmax (two kernels)",
        shape: format!("rows {rows} vocab {VOCAB}"),
        bytes: 4 * rows * VOCAB,
        operations: 0,
    };
    run.measure(label, 8, |_| {
        let mut out = ArgmaxOutput {
            tokens: tokens.as_mut_slice(),
            logprobs: logprobs.as_mut_slice(),
            scratch: scratch.as_mut_slice(),
        };
        step::argmax(device, logits.as_slice(), &mut out)
    })
}

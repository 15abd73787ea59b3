//! The cases of the bench: products, row kernels, attention, argmax, and a copy.

mod attention;
mod products;

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::error::CudaError;
use super::super::ops::embedding::{EmbeddingTable, embed};
use super::super::ops::fill;
use super::super::ops::rows::{self, Delta, Gate, Rope, RopePairs};
use super::super::ops::step::{self, ARGMAX_SCRATCH_PER_ROW, ArgmaxOutput};
use super::{BenchRun, Label, Measurement};

/// Sets of buffers that are the same one: activations of a step stay in the caches in reality, too.
const SAME_BUFFERS: usize = 8;

pub(super) fn run<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    products::run(run)?;
    attention::run(run)?;
    for &tokens in run.sizes.tokens {
        row_kernels(run, tokens)?;
    }
    for &rows in run.sizes.logit_rows {
        argmax(run, rows)?;
    }
    copy(run)
}

fn random<F>(run: &BenchRun<'_, F>, len: usize, seed: u64) -> Result<DeviceBuffer<bf16>, CudaError> {
    let mut buffer = run.device.alloc("a bench's input", len)?;
    fill::random_bf16(run.device, &mut buffer.as_mut_slice(), seed, 0.05)?;
    Ok(buffer)
}

fn copy<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    let (device, bytes) = (run.device, run.sizes.yardstick_bytes / 2);
    let from = random(run, bytes / 2, 1)?;
    let mut to = device.alloc::<bf16>("a bench's output", bytes / 2)?;
    let (name, shape) = ("copy (cuMemcpyDtoD)".to_owned(), format!("{bytes} bytes"));
    let label = Label { name, shape, bytes: 2 * bytes, operations: 0 };
    run.measure(label, 1, |_| device.copy(from.as_slice(), &mut to.as_mut_slice()))
}

fn row_kernels<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>, tokens: usize) -> Result<(), CudaError> {
    let (device, sizes) = (run.device, run.sizes);
    let (hidden, ffn, heads) = (sizes.hidden, sizes.ffn, sizes.heads);
    let shape = format!("tokens {tokens}");
    let label =
        |name: &str, bytes| Label { name: name.to_owned(), shape: shape.clone(), bytes, operations: 0 };
    let ids = device.alloc_zeros::<u32>("a bench's input", tokens)?;
    let table = random(run, sizes.vocab * hidden, 5)?;
    let mut residual = device.alloc_zeros::<f32>("a bench's input", tokens * hidden)?;
    run.measure(label("embed", tokens * hidden * 6), SAME_BUFFERS, |_| {
        let mut residual = residual.as_mut_slice();
        let table = EmbeddingTable::bf16([sizes.vocab, hidden], table.as_slice())?;
        embed(device, ids.as_slice(), table, None, &mut residual)
    })?;
    let delta = random(run, tokens * hidden, 6)?;
    let norm = device.upload_new("a bench's input", &vec![1.0_f32; hidden])?;
    let mut normed = random(run, tokens * hidden, 7)?;
    run.measure(label("add_rms_norm", tokens * hidden * 12), SAME_BUFFERS, |_| {
        let mut residual = residual.as_mut_slice();
        let delta = Some(Delta { x: delta.as_slice(), norm: None });
        let mut out = normed.as_mut_slice();
        rows::add_rms_norm(device, &mut residual, delta, norm.as_slice(), 1e-5, &mut out)
    })?;
    let gate_up = random(run, tokens * 2 * ffn, 8)?;
    let mut gated = random(run, tokens * ffn, 9)?;
    run.measure(label("gated_act", tokens * ffn * 6), SAME_BUFFERS, |_| {
        let mut out = gated.as_mut_slice();
        rows::gated_act(device, gate_up.as_slice(), Gate::Silu, &mut out, ffn)
    })?;
    let columns = heads.qkv_columns();
    let mut qkv = random(run, tokens * columns, 10)?;
    let blocks = tokens.div_ceil(heads.block_size);
    let mut k_cache = random(run, blocks * heads.block_elements(), 11)?;
    let mut v_cache = random(run, blocks * heads.block_elements(), 12)?;
    let slots: Vec<u32> = (0..tokens as u32).collect();
    let slots = device.upload_new("a bench's input", &slots)?;
    let half = heads.head_dim / 2;
    let cos = device.upload_new("a bench's input", &vec![0.6_f32; tokens * half])?;
    let sin = device.upload_new("a bench's input", &vec![0.8_f32; tokens * half])?;
    let rope = Rope {
        positions: slots.as_slice(),
        slots: slots.as_slice(),
        cos: cos.as_slice(),
        sin: sin.as_slice(),
        rotary_dim: heads.head_dim,
        pairs: RopePairs::Halves,
        q_norm: None,
        k_norm: None,
        epsilon: 1e-5,
    };
    let moved = heads.heads * 2 + heads.kv_heads * 5;
    run.measure(label("rope_and_cache", tokens * moved * heads.head_dim * 2), SAME_BUFFERS, |_| {
        let (mut k, mut v) = (k_cache.as_mut_slice(), v_cache.as_mut_slice());
        rows::rope_and_cache(device, &mut qkv.as_mut_slice(), &rope, &mut k, &mut v, heads)
    })
}

fn argmax<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>, rows: usize) -> Result<(), CudaError> {
    let (device, vocab) = (run.device, run.sizes.vocab);
    let mut logits = device.alloc::<f32>("a bench's input", rows * vocab)?;
    fill::random_f32(device, &mut logits.as_mut_slice(), 1, [-8.0, 8.0])?;
    let mut tokens = device.alloc::<u32>("a bench's output", rows)?;
    let mut logprobs = device.alloc::<f32>("a bench's output", rows)?;
    let mut scratch = device.alloc::<f32>("a bench's output", rows * ARGMAX_SCRATCH_PER_ROW)?;
    let label = Label {
        name: "argmax (two kernels)".to_owned(),
        shape: format!("rows {rows} vocab {vocab}"),
        bytes: 4 * rows * vocab,
        operations: 0,
    };
    run.measure(label, SAME_BUFFERS, |_| {
        let mut out = ArgmaxOutput {
            tokens: tokens.as_mut_slice(),
            logprobs: logprobs.as_mut_slice(),
            scratch: scratch.as_mut_slice(),
        };
        step::argmax(device, logits.as_slice(), &mut out)
    })
}

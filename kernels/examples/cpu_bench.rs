//! Measures the CPU's products: memory read while decoding, operations while prefilling.
//!
//! `cargo run --release -p spillway-kernels --example cpu_bench [isa] [threads] [type]`, with `isa` one of
//! auto, avx512, avx2, portable, and `type` to measure products of that type alone. Every figure is the
//! best of several short runs, since other work on the machine only ever makes them worse. Weights are
//! taken in turn from more memory than the caches hold.

#![expect(clippy::disallowed_methods, reason = "measures real time")]

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use spillway_kernels::ops::{AttentionArguments, LinearArguments, attention, linear};
use spillway_kernels::{
    BatchLimits, BatchRow, ComputeType, CpuDevice, CpuOptions, DType, Device, Isa, IsaChoice, KernelError,
    KvLayout, PackedWeight, PagedKv, StepBatch, Tensor, WeightSource, WeightType, Workspace, WorkspaceLimits,
};

/// More than any cache of a small machine.
const MEMORY_BYTES: usize = 192 << 20;
const PREFILL_TOKENS: usize = 512;
/// The products of one layer of SmolLM2-135M, `[n, k]`.
const LAYER: [[usize; 2]; 4] = [[960, 576], [576, 576], [3072, 576], [576, 1536]];
const NUM_LAYERS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let isa = match arguments.next().as_deref() {
        None | Some("auto") => IsaChoice::Auto,
        Some("avx512") => IsaChoice::Exactly(Isa::Avx512),
        Some("avx2") => IsaChoice::Exactly(Isa::Avx2),
        Some("portable") => IsaChoice::Exactly(Isa::Portable),
        Some(other) => return Err(format!("no instruction set `{other}`").into()),
    };
    let num_threads = arguments.next().map(|text| text.parse::<NonZeroUsize>()).transpose()?;
    let cpu = CpuDevice::new(&CpuOptions { isa, num_threads })?;
    println!("{} with {} threads", cpu.isa(), cpu.num_threads());
    let device = Device::Cpu(cpu);
    println!("type   n x k        1 row GB/s   1 row us   8 rows GOP/s   {PREFILL_TOKENS} rows GOP/s");
    let only = arguments.next();
    let chosen = |weight_type: &WeightType| only.as_deref().is_none_or(|only| only == weight_type.name());
    for weight_type in WeightType::ALL.into_iter().filter(chosen) {
        for shape in [[2048, 2048], [576, 576], [3072, 576], [576, 1536]] {
            if weight_type.row_bytes(shape[1]).is_none() {
                continue;
            }
            print_products(&device, weight_type, shape)?;
        }
    }
    if only.is_some() {
        return Ok(());
    }
    for (layers, head) in [
        (WeightType::Q4_1, WeightType::Q8_0),
        (WeightType::Q8_0, WeightType::Q8_0),
        (WeightType::BF16, WeightType::BF16),
    ] {
        print_model(&device, layers, head)?;
    }
    print_attention(&device)?;
    print_packing(&device)?;
    Ok(())
}

/// Weights of one shape, enough not to stay in a cache, and buffers for their products.
struct Products {
    device: Device,
    weights: Vec<PackedWeight>,
    workspace: Workspace,
    x: Tensor,
    out: Tensor,
    next: usize,
}

impl Products {
    fn new(
        device: &Device,
        weight_type: WeightType,
        [n, k]: [usize; 2],
        memory_bytes: usize,
    ) -> Result<Self, KernelError> {
        let source = file_bytes(weight_type, [n, k]);
        let count = (memory_bytes / source.len()).max(1);
        let weights: Result<Vec<PackedWeight>, KernelError> = (0..count)
            .map(|_| {
                let source = WeightSource::new(weight_type, [n, k], &source)?;
                PackedWeight::pack(device, &[source], ComputeType::Stored)
            })
            .collect();
        let limits = WorkspaceLimits {
            max_tokens: PREFILL_TOKENS,
            max_rows: PREFILL_TOKENS,
            max_columns: k,
            head_dim: 64,
        };
        let x: Vec<f32> = (0..PREFILL_TOKENS * k).map(|index| (index % 97) as f32 / 97.0 - 0.5).collect();
        Ok(Self {
            device: device.clone(),
            weights: weights?,
            workspace: Workspace::new(device, limits)?,
            x: Tensor::from_f32(device, DType::F32, [PREFILL_TOKENS, k], &x)?,
            out: Tensor::zeros(device, DType::F32, [PREFILL_TOKENS, n])?,
            next: 0,
        })
    }

    fn run(&mut self, rows: usize) -> Result<(), KernelError> {
        self.next = (self.next + 1) % self.weights.len();
        let arguments =
            LinearArguments { x: self.x.rows(rows)?, weight: &self.weights[self.next], bias: None };
        linear(&self.device, &mut self.workspace, arguments, self.out.rows_mut(rows)?)
    }

    /// The best average of a few runs, in seconds.
    fn best(&mut self, rows: usize) -> Result<f64, KernelError> {
        best_of(Duration::from_millis(12), || self.run(rows))
    }
}

/// A quantised block or number repeated; the values do not matter here.
fn file_bytes(weight_type: WeightType, [n, k]: [usize; 2]) -> Vec<u8> {
    let bytes = n * k / weight_type.block_len() * weight_type.block_bytes();
    (0..bytes).map(|index| if index % 2 == 0 { (index / 2 % 251) as u8 } else { 0x2c }).collect()
}

/// Repeats `run` in short slices of time; the best average of a slice, in seconds.
fn best_of(slice: Duration, mut run: impl FnMut() -> Result<(), KernelError>) -> Result<f64, KernelError> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        let mut count = 0;
        while count == 0 || start.elapsed() < slice {
            run()?;
            count += 1;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(count));
    }
    Ok(best)
}

fn print_products(device: &Device, weight_type: WeightType, shape: [usize; 2]) -> Result<(), KernelError> {
    let mut products = Products::new(device, weight_type, shape, MEMORY_BYTES)?;
    let bytes = products.weights[0].size_bytes() as f64;
    let operations = 2.0 * (shape[0] * shape[1]) as f64;
    let (one, eight) = (products.best(1)?, products.best(8)?);
    let many = products.best(PREFILL_TOKENS)?;
    println!(
        "{weight_type:<5}  {:>4} x {:<4}  {:>10.1}  {:>9.1}  {:>13.0}  {:>13.0}",
        shape[0],
        shape[1],
        bytes / one / 1e9,
        one * 1e6,
        8.0 * operations / eight / 1e9,
        PREFILL_TOKENS as f64 * operations / many / 1e9
    );
    Ok(())
}

/// All products of SmolLM2-135M, layer after layer.
fn print_model(device: &Device, layers: WeightType, head: WeightType) -> Result<(), KernelError> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for _ in 0..NUM_LAYERS {
        for shape in LAYER {
            let products = Products::new(device, layers, shape, 0)?;
            bytes += products.weights[0].size_bytes();
            all.push(products);
        }
    }
    let mut head = Products::new(device, head, [49_152, 576], 0)?;
    bytes += head.weights[0].size_bytes();
    let mut step = |rows| {
        best_of(Duration::from_millis(100), || {
            for products in &mut all {
                products.run(rows)?;
            }
            head.run(1)
        })
    };
    let (one, eight, many) = (step(1)?, step(8)?, step(PREFILL_TOKENS)?);
    println!(
        "SmolLM2-135M in {layers}, products alone ({} MB): decode {:.0} tok/s ({:.1} GB/s), 8 rows {:.0} tok/s, prefill {:.0} tok/s",
        bytes / 1_000_000,
        1.0 / one,
        bytes as f64 / one / 1e9,
        8.0 / eight,
        PREFILL_TOKENS as f64 / many
    );
    Ok(())
}

/// How fast a file's numbers become panels of f32.
fn print_packing(device: &Device) -> Result<(), KernelError> {
    let shape = [4096, 4864];
    for weight_type in WeightType::ALL {
        let source = file_bytes(weight_type, shape);
        let source = [WeightSource::new(weight_type, shape, &source)?];
        let seconds =
            best_of(Duration::ZERO, || PackedWeight::pack(device, &source, ComputeType::F32).map(drop))?;
        let millions = (shape[0] * shape[1]) as f64 / 1e6;
        println!("packing {weight_type} as f32: {:.0} million numbers a second", millions / seconds);
    }
    Ok(())
}

/// Attention of SmolLM2-135M's layers: a decode at some lengths, and a prompt.
fn print_attention(device: &Device) -> Result<(), KernelError> {
    let layout =
        KvLayout { num_blocks: 512, num_kv_heads: 3, block_size: 16, head_dim: 64, dtype: DType::BF16 };
    let kv = PagedKv::new(device, layout)?;
    let blocks: Vec<u32> = (0..512).collect();
    let limits = BatchLimits { max_tokens: 512, max_rows: 32, max_blocks: 16_384, block_size: 16 };
    let mut workspace = Workspace::new(
        device,
        WorkspaceLimits { max_tokens: 1, max_rows: 1, max_columns: 32, head_dim: 64 },
    )?;
    let qkv = Tensor::zeros(device, DType::F32, [512, 15 * 64])?;
    let mut out = Tensor::zeros(device, DType::F32, [512, 9 * 64])?;
    for (rows, start, tokens) in [(1, 200, 1), (1, 2000, 1), (16, 400, 1), (1, 0, 512), (1, 1536, 512)] {
        let mut batch = StepBatch::new(limits)?;
        for _ in 0..rows {
            let tokens = &vec![0; tokens];
            batch.push_row(BatchRow { tokens, start, blocks: &blocks, num_logits: 0 })?;
        }
        let num_tokens = batch.num_tokens();
        let seconds = best_of(Duration::from_millis(20), || {
            let qkv = qkv.rows(num_tokens)?;
            let arguments =
                AttentionArguments { qkv, kv: &kv, num_heads: 9, scale: 0.125, window: None, soft_cap: None };
            attention(device, &mut workspace, &batch, arguments, out.rows_mut(num_tokens)?)
        })?;
        println!(
            "attention of {NUM_LAYERS} layers, {rows} rows of {tokens} tokens after {start}: {:.2} ms",
            seconds * 1e3 * NUM_LAYERS as f64
        );
    }
    Ok(())
}

//! `spillway gpu-selftest`: every kernel on the GPU against sums in f64, a model against the CPU and against candle, then
//! what the device can do at most, and how near to it each kernel comes.
//!
//! It is what `scripts/gpu-check.sh` runs on a GPU node, and needs nothing there but the driver.

mod parity;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use spillway_kernels::Device;
use spillway_kernels::DeviceRates;
use spillway_kernels::cuda::bench::{BenchSize, Measurement, bench, yardsticks};
use spillway_kernels::cuda::selftest::{Check, selftest, small_selftest};
use spillway_kernels::cuda::{ArenaSize, CudaConfig, CudaDevice, LaunchOverlap, Products};

use super::device;
use crate::config::{GpuSelftest, SelftestShapes};

/// Of the GPU's free memory: nothing else is to run there meanwhile.
const ARENA_FRACTION: f32 = 0.9;

/// Does what is asked for, and tells it on standard output.
///
/// # Errors
///
/// If the GPU cannot be used, or anything is wrong with its results.
pub(super) fn run(options: &GpuSelftest) -> anyhow::Result<()> {
    let gpu = device::find_gpu(options.ordinal)?;
    println!("device {gpu}");
    let mut num_failed = 0;
    let mut result = json!({ "device": gpu.facts() });
    if options.test {
        for overlap in [LaunchOverlap::Plain, LaunchOverlap::Overlapped] {
            num_failed += test(options, overlap)?;
        }
        result["failed_checks"] = json!(num_failed);
    }
    if let Some(model) = &options.model {
        let gpu = Device::cuda(config(options, LaunchOverlap::Overlapped))?;
        let told = parity::compare(model, gpu, options.ordinal)
            .with_context(|| format!("--model {}", model.display()))?;
        println!("\nparity, {}", model.display());
        for comparison in &told {
            println!("{comparison}");
            num_failed += usize::from(!comparison.is_ok());
        }
        result["parity"] = told.iter().map(parity::Comparison::to_json).collect();
    }
    if options.bench {
        measure(options, &mut result)?;
    }
    if let Some(path) = &options.output {
        let text = serde_json::to_string_pretty(&result)?;
        std::fs::write(path, text).with_context(|| format!("--output {}", path.display()))?;
    }
    if num_failed > 0 {
        bail!("{num_failed} checks failed");
    }
    Ok(())
}

/// Measures what the device can do, then every kernel against it.
fn measure(options: &GpuSelftest, result: &mut Value) -> anyhow::Result<()> {
    let size = match options.shapes {
        SelftestShapes::All => BenchSize::Llama8b,
        SelftestShapes::Small => BenchSize::Tiny,
    };
    let device = CudaDevice::new(config(options, LaunchOverlap::Overlapped))?;
    println!("\nbench, {size:?} shapes, cuBLASLt {}", found(&device));
    let yardsticks = yardsticks(&device, size)?;
    let rates = yardsticks.rates;
    println!(
        "reads {:.0} GB/s, multiplies {:.1} TFLOP/s in bf16 by {}: floors are counted with these\n",
        rates.bytes_per_s / 1e9,
        rates.operations_per_s / 1e12,
        yardsticks.products_by
    );
    let kernels = bench(&device, size, |measurement| {
        let floor = measurement.floor_microseconds(rates);
        println!("{measurement} floor {floor:>9.2} us {:>5.1} %", 100.0 * floor / measurement.microseconds);
    })?;
    result["rates"] = json!({
        "bytes_per_s": rates.bytes_per_s,
        "operations_per_s": rates.operations_per_s,
        "products_by": yardsticks.products_by,
    });
    let told =
        |measured: &[Measurement]| measured.iter().map(|one| kernel_json(one, rates)).collect::<Value>();
    result["yardsticks"] = told(&yardsticks.measurements);
    result["kernels"] = told(&kernels);
    Ok(())
}

fn kernel_json(measurement: &Measurement, rates: DeviceRates) -> Value {
    let Measurement { name, shape, microseconds, bytes, operations } = measurement;
    let floor = measurement.floor_microseconds(rates);
    json!({
        "name": name,
        "shape": shape,
        "us": microseconds,
        "bytes": bytes,
        "operations": operations,
        "floor_us": floor,
        "fraction": floor / microseconds,
    })
}

/// Tries every kernel, and says how many checks failed.
fn test(options: &GpuSelftest, overlap: LaunchOverlap) -> anyhow::Result<usize> {
    let device = CudaDevice::new(config(options, overlap))?;
    if overlap == LaunchOverlap::Plain {
        describe(&device)?;
    }
    println!("\nself-test, launches {overlap:?}, seed {}", options.seed);
    let mut num_checks = 0;
    let on_check = |check: &Check| {
        num_checks += 1;
        if options.verbose || !check.is_ok() {
            println!("{check}");
        }
    };
    let report = match options.shapes {
        SelftestShapes::All => selftest(&device, options.seed, on_check),
        SelftestShapes::Small => small_selftest(&device, options.seed, on_check),
    };
    let report = report.with_context(|| format!("stopped after {num_checks} checks"))?;
    summarise(&report.checks);
    Ok(report.num_failed())
}

fn config(options: &GpuSelftest, overlap: LaunchOverlap) -> CudaConfig {
    CudaConfig {
        ordinal: options.ordinal,
        arena: ArenaSize::FractionOfFree(ARENA_FRACTION),
        products: Products::Fastest,
        overlap,
        records_steps: true,
    }
}

fn found(device: &CudaDevice) -> &'static str {
    if device.has_blas() { "found" } else { "not found" }
}

fn describe(device: &CudaDevice) -> anyhow::Result<()> {
    println!("cuBLASLt {}", found(device));
    for kernel in device.kernel_resources()? {
        println!(
            "kernel {:<32} {:>3} registers {:>4} bytes local",
            kernel.name, kernel.num_registers, kernel.local_bytes
        );
    }
    Ok(())
}

/// One line for each kernel: how many shapes, the worst of them.
fn summarise(checks: &[Check]) {
    let mut names: Vec<&str> = Vec::new();
    for check in checks {
        if !names.contains(&check.name.as_str()) {
            names.push(&check.name);
        }
    }
    for name in names {
        let of_name = || checks.iter().filter(|check| check.name == name);
        let num_failed = of_name().filter(|check| !check.is_ok()).count();
        let worst = of_name().map(|check| check.max_error).fold(0.0, f64::max);
        let limit = of_name().map(|check| check.tolerance).fold(0.0, f64::max);
        println!(
            "{name:<34} {:>3} shapes  worst error {worst:<9.2e} limit {limit:<9.2e} {}",
            of_name().count(),
            if num_failed == 0 { "ok".to_owned() } else { format!("{num_failed} FAILED") },
        );
    }
}

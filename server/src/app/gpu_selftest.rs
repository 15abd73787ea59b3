//! `spillway gpu-selftest`: every kernel on the GPU against sums in f64, a model against the CPU, then how long they take.
//!
//! It is what `scripts/gpu-check.sh` runs on a GPU node, and needs nothing there but the driver.

mod parity;

use anyhow::{Context, bail};
use spillway_kernels::Device;
use spillway_kernels::cuda::bench::bench;
use spillway_kernels::cuda::selftest::{Check, selftest};
use spillway_kernels::cuda::{ArenaSize, CudaConfig, CudaDevice, LaunchOverlap, Products};

use super::device;
use crate::config::GpuSelftest;

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
    if options.test {
        for overlap in [LaunchOverlap::Plain, LaunchOverlap::Overlapped] {
            num_failed += test(options, overlap)?;
        }
    }
    if let Some(model) = &options.model {
        let outcome = parity::compare(model, &Device::cuda(config(options, LaunchOverlap::Overlapped))?)
            .with_context(|| format!("--model {}", model.display()))?;
        println!("\nparity with the CPU in f32, {}\n{outcome}", model.display());
        num_failed += usize::from(!outcome.is_ok());
    }
    if options.bench {
        let device = CudaDevice::new(config(options, LaunchOverlap::Overlapped))?;
        println!("\nbench, Llama-3.1-8B shapes, cuBLASLt {}", found(&device));
        bench(&device, |measurement| println!("{measurement}"))?;
    }
    if num_failed > 0 {
        bail!("{num_failed} checks failed");
    }
    Ok(())
}

/// Tries every kernel, and says how many checks failed.
fn test(options: &GpuSelftest, overlap: LaunchOverlap) -> anyhow::Result<usize> {
    let device = CudaDevice::new(config(options, overlap))?;
    if overlap == LaunchOverlap::Plain {
        describe(&device)?;
    }
    println!("\nself-test, launches {overlap:?}, seed {}", options.seed);
    let mut num_checks = 0;
    let report = selftest(&device, options.seed, |check| {
        num_checks += 1;
        if options.verbose || !check.is_ok() {
            println!("{check}");
        }
    });
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

//! Tries every GPU kernel against f64 and times it: what `scripts/gpu-check.sh` runs on a GPU node.
//!
//! Usage: `gpu_selftest [--no-bench] [--no-test] [--verbose] [--seed N]`
//!
//! Exit code 0: all right; 1: a kernel is wrong or was refused; 2: a bad argument; 3: no usable device.

use std::process::ExitCode;

use spillway_kernels::cuda::bench::bench;
use spillway_kernels::cuda::selftest::selftest;
use spillway_kernels::cuda::{ArenaSize, CudaConfig, CudaDevice, CudaError, LaunchOverlap, Products};

/// Enough for the bench's largest case: several copies of a layer's weights.
const ARENA_BYTES: usize = 16 << 30;

/// What the command line asks for.
#[derive(Debug, Clone, Copy)]
struct Options {
    test: bool,
    bench: bool,
    verbose: bool,
    seed: u64,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(num_failed) => {
            println!("{num_failed} checks FAILED");
            ExitCode::from(1)
        }
        Err(error) => {
            let mut message = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            eprintln!("error: {message}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &CudaError) -> u8 {
    match error {
        CudaError::DriverMissing
        | CudaError::DriverTooOld { .. }
        | CudaError::NoDevice
        | CudaError::NoSuchDevice { .. }
        | CudaError::DeviceTooOld { .. } => 3,
        _ => 1,
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { test: true, bench: true, verbose: false, seed: 20_261_122 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--no-bench" => options.bench = false,
            "--no-test" => options.test = false,
            "--verbose" => options.verbose = true,
            "--seed" => {
                let value = arguments.next().ok_or("--seed needs a number")?;
                options.seed =
                    value.parse().map_err(|_| format!("--seed is `{value}`, expected a number"))?;
            }
            _ => {
                return Err(format!(
                    "unknown argument `{argument}`; known: --no-bench --no-test --verbose --seed N"
                ));
            }
        }
    }
    Ok(options)
}

/// Returns how many checks failed.
fn run(options: Options) -> Result<usize, CudaError> {
    let mut num_failed = 0;
    if options.test {
        for overlap in [LaunchOverlap::Plain, LaunchOverlap::Overlapped] {
            let device = open(overlap)?;
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
            match report {
                Ok(report) => {
                    num_failed += report.num_failed();
                    summarise(&report.checks);
                }
                Err(error) => {
                    println!("stopped after {num_checks} checks");
                    return Err(error);
                }
            }
        }
    }
    if options.bench {
        let device = open(LaunchOverlap::Overlapped)?;
        if !options.test {
            describe(&device)?;
        }
        println!("\nbench, Llama-3.1-8B shapes, cuBLASLt {}", device.has_blas());
        bench(&device, |measurement| println!("{measurement}"))?;
    }
    Ok(num_failed)
}

fn open(overlap: LaunchOverlap) -> Result<CudaDevice, CudaError> {
    CudaDevice::new(CudaConfig {
        ordinal: 0,
        arena: ArenaSize::Bytes(ARENA_BYTES),
        products: Products::Fastest,
        overlap,
        records_steps: true,
    })
}

fn describe(device: &CudaDevice) -> Result<(), CudaError> {
    let info = device.info();
    println!(
        "device {} | compute {} | {} multiprocessors | {} MiB | driver CUDA {} | cuBLASLt {}",
        info.name,
        info.compute_capability,
        info.num_multiprocessors,
        info.total_bytes >> 20,
        device.driver(),
        if device.has_blas() { "found" } else { "not found" },
    );
    for kernel in device.kernel_resources()? {
        println!(
            "kernel {:<32} {:>3} registers {:>4} bytes local",
            kernel.name, kernel.num_registers, kernel.local_bytes
        );
    }
    Ok(())
}

/// One line for each kernel: how many shapes, the worst of them.
fn summarise(checks: &[spillway_kernels::cuda::selftest::Check]) {
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

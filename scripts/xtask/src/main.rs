//! The project's own tasks: `cargo xtask check` is the whole of CI, `cargo xtask tidy` the part no other tool does.

mod candle_cuda;
mod check;
mod kernels;
mod sources;
mod tidy;
mod toolkit;

use clap::Parser;

/// Tasks of the Spillway project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Build the binary with candle's own CUDA code, and start it without any library of CUDA.
    CandleCuda,
    /// Run everything that CI runs: fmt, clippy, docs, tests, tidy, GPU kernels. Stops at the first failure.
    Check,
    /// Print what each GPU kernel takes of a multiprocessor; fail on register spills that are not announced.
    Kernels,
    /// Check arrows, headers, unsafe, kernel twins, licences, documented flags; print the longest files and functions.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::CandleCuda => candle_cuda::run(),
        Task::Check => check::run(),
        Task::Kernels => kernels::run(),
        Task::Tidy => tidy::run(),
    }
}

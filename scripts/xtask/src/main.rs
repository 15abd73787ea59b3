//! The project's own tasks: `cargo xtask check` is the whole of CI, `cargo xtask tidy` the part no other tool does.

mod check;
mod sources;
mod tidy;

use clap::Parser;

/// Tasks of the Spillway project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Run everything that CI runs: fmt, clippy, docs, tests, tidy. Stops at the first failure.
    Check,
    /// Check arrows, headers, unsafe, kernel twins, licences, documented flags; print the longest files and functions.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Check => check::run(),
        Task::Tidy => tidy::run(),
    }
}

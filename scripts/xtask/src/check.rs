//! `cargo xtask check`: the steps of CI, in the order in which they fail fastest.
//!
//! Everything is built once, with the feature `cuda`; without it the code is only checked. Packages from outside are the
//! same either way, so that costs little. At the end the binary is built with candle's CUDA code, too.

use std::process::Command;

use anyhow::{Context, bail};

use crate::{candle_cuda, kernels, tidy, toolkit};

/// A run of cargo.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Flags for rustdoc.
    rustdoc_flags: &'static str,
}

const fn step(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { name, arguments, rustdoc_flags: "" }
}

/// What comes before the kernels' table, which needs them built.
const BEFORE_KERNELS: [Step; 5] = [
    step("fmt", &["fmt", "--all", "--check"]),
    step(
        "clippy",
        &["clippy", "--workspace", "--all-targets", "--features", "cuda", "--quiet", "--", "-D", "warnings"],
    ),
    step(
        "clippy without cuda",
        &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
    ),
    Step {
        name: "doc",
        arguments: &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--features",
            "cuda",
            "--quiet",
        ],
        rustdoc_flags: "-D warnings",
    },
    step("build", &["build", "--workspace", "--features", "cuda", "--quiet"]),
];

/// What comes after it.
const AFTER_KERNELS: [Step; 1] =
    [step("test", &["test", "--workspace", "--features", "cuda", "--no-fail-fast"])];

/// Runs every step.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("check: tidy");
    tidy::run()?;
    BEFORE_KERNELS.iter().try_for_each(run_step)?;
    println!("check: kernels");
    kernels::run()?;
    AFTER_KERNELS.iter().try_for_each(run_step)?;
    println!("check: candle-cuda");
    candle_cuda::run()?;
    println!("check: all passed");
    Ok(())
}

fn run_step(step: &Step) -> anyhow::Result<()> {
    let Step { name, arguments, rustdoc_flags } = step;
    println!("check: {name}");
    let mut command = Command::new("cargo");
    command.args(*arguments);
    if !rustdoc_flags.is_empty() {
        command.env("RUSTDOCFLAGS", rustdoc_flags);
    }
    toolkit::provide(&mut command)?;
    let status = command.status().with_context(|| format!("cargo could not be started for {name}"))?;
    if !status.success() {
        bail!("{name} failed: cargo {}", arguments.join(" "));
    }
    Ok(())
}

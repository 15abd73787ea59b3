//! `cargo xtask check`: the steps of CI, in the order in which they fail fastest.

use std::process::Command;

use anyhow::{Context, bail};

use crate::tidy;

/// Each step's name, arguments to cargo, and flags for rustdoc.
const STEPS: [(&str, &[&str], &str); 5] = [
    ("fmt", &["fmt", "--all", "--check"], ""),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], ""),
    ("doc", &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"], "-D warnings"),
    ("build", &["build", "--workspace", "--quiet"], ""),
    ("test", &["test", "--workspace", "--no-fail-fast"], ""),
];

/// Runs every step.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("check: tidy");
    tidy::run()?;
    for (name, arguments, rustdoc_flags) in STEPS {
        println!("check: {name}");
        let mut command = Command::new("cargo");
        command.args(arguments);
        if !rustdoc_flags.is_empty() {
            command.env("RUSTDOCFLAGS", rustdoc_flags);
        }
        let status = command.status().with_context(|| format!("cargo could not be started for {name}"))?;
        if !status.success() {
            bail!("{name} failed: cargo {}", arguments.join(" "));
        }
    }
    println!("check: all passed");
    Ok(())
}

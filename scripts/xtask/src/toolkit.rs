//! Where the CUDA compiler is: where the environment says, else where `scripts/cuda-toolkit.sh` puts it.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::sources;

/// Variables by which the build of the kernels finds its compiler.
const NAMED_BY: [&str; 2] = ["NVCC", "CUDA_HOME"];

/// Lets a command compile the kernels. Installs the pinned compiler where the environment names none.
pub(crate) fn provide(command: &mut Command) -> anyhow::Result<()> {
    if NAMED_BY.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let script = sources::root()?.join("scripts/cuda-toolkit.sh");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} could not be started", script.display()))?;
    ensure!(output.status.success(), "{} failed", script.display());
    command.env("CUDA_HOME", String::from_utf8(output.stdout)?.trim());
    Ok(())
}

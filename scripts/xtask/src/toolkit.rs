//! Where the CUDA compiler and its disassembler are: where the environment says, else where `scripts/cuda-toolkit.sh` puts
//! them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::sources;

/// Variables by which the build of the kernels finds its compiler.
const NAMED_BY: [&str; 2] = ["NVCC", "CUDA_HOME"];
/// The disassembler, in a toolkit's folder.
const DISASSEMBLER: &str = "bin/cuobjdump";

/// Lets a command compile the kernels. Installs the pinned compiler where the environment names none.
pub(crate) fn provide(command: &mut Command) -> anyhow::Result<()> {
    if NAMED_BY.iter().any(|name| env::var_os(name).is_some()) {
        return Ok(());
    }
    command.env("CUDA_HOME", installed(&[])?);
    Ok(())
}

/// NVIDIA's disassembler: that of the toolkit which the environment names, else the pinned one, which is installed if need
/// be. Any version reads the machine code of an older compiler.
pub(crate) fn disassembler() -> anyhow::Result<Command> {
    let named = env::var_os("CUDA_HOME").map(|home| Path::new(&home).join(DISASSEMBLER));
    let program = match named.filter(|program| program.exists()) {
        Some(program) => program,
        None => installed(&["--disassembler"])?.join(DISASSEMBLER),
    };
    let mut command = Command::new(&program);
    // It starts another program of its folder.
    let mut path = program.parent().map(OsString::from).unwrap_or_default();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    command.env("PATH", path);
    Ok(command)
}

/// The folder that `scripts/cuda-toolkit.sh` prints, after it has installed what is missing there.
fn installed(arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let script = sources::root()?.join("scripts/cuda-toolkit.sh");
    let output = Command::new(&script)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} could not be started", script.display()))?;
    ensure!(output.status.success(), "{} failed", script.display());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

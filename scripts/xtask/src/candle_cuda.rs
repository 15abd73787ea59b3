//! The build with candle's own CUDA code: made once, started once, and without a library of CUDA's that it cannot
//! start without.
//!
//! It comes last, because it leaves its binary in the place of the ordinary one.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use cargo_metadata::Message;

use crate::{sources, toolkit};

/// The device that candle's kernels are compiled for, where the environment does not say which: Hopper.
const DEFAULT_CAPABILITY: (&str, &str) = ("CUDA_COMPUTE_CAP", "90");
/// How libraries are called that are on GPU nodes only.
const OF_GPU_NODES: [&str; 2] = ["libcu", "libnv"];

/// Builds the binary and starts it.
pub(crate) fn run() -> anyhow::Result<()> {
    let binary = build()?;
    let version = output(Command::new(&binary).arg("--version"))?;
    let libraries = output(Command::new("ldd").arg(&binary))?;
    let unwanted = unwanted(&libraries);
    ensure!(unwanted.is_empty(), "{} does not start without {}", binary.display(), unwanted.join(", "));
    println!("candle-cuda: {} starts, and needs no library of CUDA", version.trim());
    Ok(())
}

/// Builds the binary with the features of the whole workspace, so that little is built anew, and says where it is.
fn build() -> anyhow::Result<PathBuf> {
    let mut command = Command::new("cargo");
    command
        .current_dir(sources::root()?)
        .args(["build", "--workspace", "--bin", "spillway", "--features", "candle-cuda"])
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let (name, value) = DEFAULT_CAPABILITY;
    if std::env::var_os(name).is_none() {
        command.env(name, value);
    }
    toolkit::provide(&mut command)?;
    let messages = output(&mut command)?;
    let mut binary = None;
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == "spillway"
            && let Some(executable) = artifact.executable
        {
            binary = Some(executable.into_std_path_buf());
        }
    }
    binary.context("cargo built no binary called spillway")
}

/// What a command writes on standard output.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let told = format!("{command:?}");
    let output = command.output().with_context(|| format!("{told} could not be started"))?;
    ensure!(output.status.success(), "{told} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The libraries of a list by `ldd` that only GPU nodes have.
fn unwanted(libraries: &str) -> Vec<&str> {
    let names = libraries.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| OF_GPU_NODES.iter().any(|prefix| name.starts_with(prefix))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_gpu_nodes_are_told_from_the_systems() {
        let list = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibcurand.so.10 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                    \tlibcuda.so.1 => /lib/libcuda.so.1 (0x7f)\n\tlibstdc++.so.6 => /lib/libstdc++.so.6 (0x7f)\n";
        assert_eq!(unwanted(list), ["libcurand.so.10", "libcuda.so.1"]);
    }
}

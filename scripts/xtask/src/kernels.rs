//! `cargo xtask kernels`: what each GPU kernel takes of a multiprocessor, whether registers spill unannounced, and how wide
//! it reads memory.
//!
//! Registers, shared memory and spills are ptxas's, in the reports that the build of `spillway-kernels` keeps beside its
//! fatbins. A kernel may spill no more than `kernels/spills.txt` says: a line each of name and bytes stored. Loads are
//! counted in the machine code of the fatbins themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use cargo_metadata::Message;

use crate::{sources, toolkit};

mod loads;

use loads::Loads;

/// The package whose build compiles the kernels.
const PACKAGE: &str = "spillway-kernels";
/// Kernels that are known to spill.
const ALLOWED: &str = "kernels/spills.txt";

/// What ptxas says of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kernel {
    name: String,
    architecture: String,
    num_registers: u32,
    /// Known when it is compiled; the dynamic part is asked for at launch.
    static_shared_bytes: u32,
    stack_bytes: u32,
    spill_store_bytes: u32,
    spill_load_bytes: u32,
}

/// Prints the table and complains of spills and of narrow loads.
pub(crate) fn run() -> anyhow::Result<()> {
    let folder = report_folder()?;
    let mut kernels = Vec::new();
    let mut loads = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ptxas") {
            kernels.extend(parse(&fs::read_to_string(&path)?));
            loads.extend(loads::count(&path.with_extension("fatbin"))?);
        }
    }
    ensure!(!kernels.is_empty(), "no report of a kernel in {}", folder.display());
    kernels.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    print(&kernels, &loads);
    let allowed = fs::read_to_string(sources::root()?.join(ALLOWED)).with_context(|| ALLOWED.to_owned())?;
    let mut complaints = complaints(&kernels, &allowances(&allowed)?);
    complaints.extend(loads::complaints(&loads));
    for complaint in &complaints {
        println!("  {complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} kernels spill otherwise than {ALLOWED} says, or stream by narrow loads", complaints.len());
    }
    println!(
        "kernels: {}, none spills beyond {ALLOWED}, all that stream read 16 bytes at a time",
        kernels.len()
    );
    Ok(())
}

/// Compiles the kernels if need be, and finds the folder of their reports.
fn report_folder() -> anyhow::Result<PathBuf> {
    // The build that tests run on, so that nothing is built for this alone.
    let mut build = Command::new("cargo");
    build.args(["build", "--workspace", "--features", "cuda", "--quiet", "--message-format", "json"]);
    toolkit::provide(&mut build)?;
    let output = build.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
    ensure!(output.status.success(), "cargo build --workspace --features cuda failed");
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::BuildScriptExecuted(script) = message?
            && script.package_id.repr.contains("/kernels#")
        {
            return Ok(script.out_dir.into_std_path_buf());
        }
    }
    bail!("cargo says nothing of the build script of {PACKAGE}")
}

/// Reads what `ptxas -v` prints.
fn parse(report: &str) -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut quoted = rest.split('\'');
            let name = quoted.next().unwrap_or_default().to_owned();
            let architecture = quoted.nth(1).unwrap_or_default().to_owned();
            kernels.push(Kernel { name, architecture, ..Kernel::default() });
            continue;
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            kernel.stack_bytes = number_before(line, "bytes stack frame");
            kernel.spill_store_bytes = number_before(line, "bytes spill stores");
            kernel.spill_load_bytes = number_before(line, "bytes spill loads");
        } else if line.contains(": Used ") {
            kernel.num_registers = number_before(line, "registers");
            kernel.static_shared_bytes = number_before(line, "bytes smem");
        }
    }
    kernels
}

/// The number in front of a unit; 0 if the unit is not named, as ptxas leaves out what is 0.
fn number_before(line: &str, unit: &str) -> u32 {
    let before = line.split_once(unit).map_or("", |(before, _)| before);
    before.split_whitespace().next_back().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Names and bytes of the kernels that may spill.
fn allowances(text: &str) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut allowed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let entry = line.split_once(' ').and_then(|(name, bytes)| Some((name, bytes.trim().parse().ok()?)));
        let Some((name, bytes)) = entry else { bail!("{ALLOWED}: `{line}` is no name and number of bytes") };
        allowed.insert(name.to_owned(), bytes);
    }
    Ok(allowed)
}

/// Kernels that spill more than is allowed, and allowances that nothing needs.
fn complaints(kernels: &[Kernel], allowed: &BTreeMap<String, u32>) -> Vec<String> {
    let over = kernels.iter().filter_map(|kernel| {
        let Kernel { name, architecture, spill_store_bytes: stored, .. } = kernel;
        let limit = allowed.get(name).copied().unwrap_or(0);
        (*stored > limit)
            .then(|| format!("{name} ({architecture}) spills {stored} bytes, allowed are {limit}"))
    });
    let idle = allowed.keys().filter_map(|name| {
        let needs = kernels.iter().any(|kernel| kernel.name == *name && kernel.spill_store_bytes > 0);
        (!needs).then(|| format!("{name} does not spill: take its line out of {ALLOWED}"))
    });
    over.chain(idle).collect()
}

fn print(kernels: &[Kernel], loads: &BTreeMap<String, Loads>) {
    println!(
        "kernel                                      code     registers  shared  stack  spill stores  spill loads  16-byte loads  narrower"
    );
    for kernel in kernels {
        let Loads { widest, narrower } = loads.get(&kernel.name).copied().unwrap_or_default();
        println!(
            "{:<43} {:<8} {:>9} {:>7} {:>6} {:>13} {:>12} {widest:>14} {narrower:>9}",
            kernel.name,
            kernel.architecture,
            kernel.num_registers,
            kernel.static_shared_bytes,
            kernel.stack_bytes,
            kernel.spill_store_bytes,
            kernel.spill_load_bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'decode_d256' for 'sm_90'
ptxas info    : Function properties for decode_d256
    8 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 128 bytes smem
ptxas info    : Compile time = 886.839 ms
ptxas info    : Compiling entry function 'embed' for 'sm_90'
ptxas info    : Function properties for embed
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 0 barriers
";

    #[test]
    fn a_report_gives_each_kernel_its_numbers() {
        let kernels = parse(REPORT);
        assert_eq!(kernels.len(), 2);
        let decode = Kernel {
            name: "decode_d256".to_owned(),
            architecture: "sm_90".to_owned(),
            num_registers: 255,
            static_shared_bytes: 128,
            stack_bytes: 8,
            spill_store_bytes: 8,
            spill_load_bytes: 16,
        };
        assert_eq!(kernels[0], decode);
        assert_eq!((kernels[1].num_registers, kernels[1].static_shared_bytes), (30, 0));
    }

    #[test]
    fn spills_beyond_the_list_and_idle_lines_of_it_are_named() {
        let kernels = parse(REPORT);
        let check = |list: &str| complaints(&kernels, &allowances(list).expect("a list"));
        assert_eq!(check("# known\ndecode_d256 8\n"), Vec::<String>::new());
        assert_eq!(check(""), ["decode_d256 (sm_90) spills 8 bytes, allowed are 0"]);
        assert_eq!(check("decode_d256 7"), ["decode_d256 (sm_90) spills 8 bytes, allowed are 7"]);
        let idle = check("decode_d256 8\nembed 4");
        assert_eq!(idle, ["embed does not spill: take its line out of kernels/spills.txt"]);
        assert!(allowances("decode_d256").is_err());
    }
}

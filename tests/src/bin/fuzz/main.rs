//! Spoils model files at random for as long as wanted, and keeps those that a reader does not bear.
//!
//! ```console
//! cargo run --workspace --bin fuzz -- gguf --seconds 600
//! ```
//!
//! An input that ends the process (a stack overflow, memory that the system refuses) is the file that is left in the
//! folder named at the start. The exit code says whether anything was found.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use peak_alloc::PeakAlloc;
use spillway_tests::fuzz::{Finding, Fuzzer, targets};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Findings after which it is better to mend first.
const MAX_FINDINGS: usize = 20;

/// Spoils model files at random.
#[derive(Debug, Parser)]
struct Args {
    /// What to fuzz: gguf, safetensors or tokenizer.
    target: String,
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of all inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where inputs that were not borne are kept.
    #[arg(long, default_value = "fuzz-findings")]
    findings: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "goes on for a real length of time")]
fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let targets = targets();
    let target = targets
        .iter()
        .find(|target| target.name == args.target)
        .with_context(|| format!("no target `{}`; there are gguf, safetensors and tokenizer", args.target))?;
    let folder = tempfile::tempdir()?.keep();
    println!("inputs are written to {}", folder.display());
    // Each finding is told at the end; its panic's own report would only bury it.
    std::panic::set_hook(Box::new(|_| {}));
    let mut fuzzer = Fuzzer::new(target, args.seed, &MEMORY, &folder);
    let start = Instant::now();
    let (mut num_inputs, mut findings) = (0_u64, Vec::<Finding>::new());
    while start.elapsed() < Duration::from_secs(args.seconds) && findings.len() < MAX_FINDINGS {
        num_inputs += 1;
        if let Some(finding) = fuzzer.step()
            && findings.iter().all(|known| known.what != finding.what)
        {
            std::fs::create_dir_all(&args.findings)?;
            let path = args.findings.join(format!("{}-{}", target.name, findings.len()));
            std::fs::write(&path, &finding.input)?;
            println!("{}: {}", path.display(), finding.what);
            findings.push(finding);
        }
    }
    println!("{}: {num_inputs} inputs in {:.0?}, {} findings", target.name, start.elapsed(), findings.len());
    std::fs::remove_dir_all(&folder)?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

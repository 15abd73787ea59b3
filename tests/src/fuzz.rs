//! Fuzzing of what reads files that others made: mutated files must be refused or read, without a panic and without more
//! memory than a file of their length can call for.
//!
//! Each [`Target`] is a function of some bytes, as fuzzers guided by coverage take them, too. What drives it here is a
//! seeded mutator over valid files, which needs no special compiler: a short run of fixed length is a test, a long one is
//! the program `fuzz`.
//!
//! A process that reads another's memory use for its own would be misled: nothing else may run in it meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use peak_alloc::PeakAlloc;

mod mutate;
mod targets;

pub use mutate::Mutator;
pub use targets::{Target, targets};

/// Bytes that any input may cost: buffers of files, texts of errors, a tokenizer's fixed tables.
const FREE_BYTES: usize = 8 << 20;
/// Bytes for each byte of the input. A value of a GGUF array takes 32 and may be one byte in the file; a tokenizer keeps
/// each token in several tables.
const BYTES_PER_BYTE: usize = 64;

/// An input that was not borne, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The bytes.
    pub input: Vec<u8>,
    /// What happened.
    pub what: String,
}

/// Runs a target on inputs and judges what it does.
pub struct Fuzzer<'a> {
    target: &'a Target,
    mutator: Mutator,
    memory: &'a PeakAlloc,
    folder: PathBuf,
}

impl<'a> Fuzzer<'a> {
    /// A fuzzer whose inputs follow from `seed`. `memory` must be the process's allocator; files are written to `folder`.
    pub fn new(target: &'a Target, seed: u64, memory: &'a PeakAlloc, folder: &Path) -> Self {
        let mutator = Mutator::new((target.seeds)(), seed);
        Self { target, mutator, memory, folder: folder.to_owned() }
    }

    /// Makes the next input and judges it.
    pub fn step(&mut self) -> Option<Finding> {
        let input = self.mutator.next_input();
        self.judge(&input).map(|what| Finding { input, what })
    }

    /// Says what is wrong with how the target bears `input`.
    pub fn judge(&self, input: &[u8]) -> Option<String> {
        let before = self.memory.current_usage();
        self.memory.reset_peak_usage();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input, &self.folder)));
        let taken = self.memory.peak_usage().saturating_sub(before);
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            return Some(format!("it panicked: {text}"));
        }
        let limit = FREE_BYTES + input.len().saturating_mul(BYTES_PER_BYTE);
        (taken > limit)
            .then(|| format!("it took {taken} bytes for an input of {}, limit {limit}", input.len()))
    }
}

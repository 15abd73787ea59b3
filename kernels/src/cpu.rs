//! The processor as a device: vector code chosen at run time, over threads of its own.
//!
//! Every kernel is written once over `simd::Simd`, vectors of sixteen lanes, and compiled for each
//! instruction set. All of them do the same operations in the same order, so that the instruction set
//! changes speed and not bits (bf16 products excepted, where the AVX512-BF16 instruction rounds its
//! own way).
//!
//! Deliberately absent: AMX; a choice of memory node; other processors' vectors (they run
//! the portable code, which the compiler vectorises).

#![expect(
    clippy::inline_always,
    reason = "kernels must become part of the function that has the instruction set's features"
)]

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::error::KernelError;

mod activation;
mod attention;
mod cache_element;
mod disjoint;
mod embedding;
mod experts;
mod isa;
mod linear;
mod norm;
mod pool;
mod rope;
mod simd;
mod weight;
mod workspace;

pub use isa::{Isa, IsaChoice};
pub use weight::CpuWeight;
pub use workspace::CpuWorkspace;

pub(crate) use activation::{gated_act, soft_cap};
pub(crate) use attention::{Attention, attention};
pub(crate) use embedding::{embed, gather_rows};
pub(crate) use experts::{Choice, Routes, add_weighted_rows};
pub(crate) use linear::{LinearInputs, linear};
pub(crate) use norm::{NormInputs, add_rms_norm};
pub(crate) use rope::{HeadNormWeights, Rope, rope_and_cache};

use isa::ActiveIsa;
use pool::ThreadPool;

/// The most threads a device takes.
const MAX_THREADS: usize = 1024;

/// How the processor is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuOptions {
    /// Which instruction set to use.
    pub isa: IsaChoice,
    /// How many threads compute; absent for as many as the process may run at once.
    pub num_threads: Option<NonZeroUsize>,
}

/// The processor, with its threads. Cheap to clone; a clone is the same device.
#[derive(Debug, Clone)]
pub struct CpuDevice {
    isa: ActiveIsa,
    pool: Arc<ThreadPool>,
}

impl CpuDevice {
    /// Looks at the processor and starts the threads.
    ///
    /// # Errors
    ///
    /// [`KernelError::IsaMissing`] if it lacks the instruction set asked for,
    /// [`KernelError::OverLimit`] for more than 1024 threads, [`KernelError::Thread`] if one cannot
    /// be started.
    pub fn new(options: &CpuOptions) -> Result<Self, KernelError> {
        let isa = ActiveIsa::choose(options.isa)?;
        let num_threads = options.num_threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS),
            NonZeroUsize::get,
        );
        crate::error::expect_at_most("num_threads", num_threads, MAX_THREADS)?;
        Ok(Self { isa, pool: Arc::new(ThreadPool::new(num_threads)?) })
    }

    /// A device for each instruction set that this processor has.
    #[cfg(test)]
    pub(crate) fn all_for_tests(num_threads: usize) -> Vec<Self> {
        let pool = Arc::new(ThreadPool::new(num_threads).expect("threads start"));
        ActiveIsa::all().into_iter().map(|isa| Self { isa, pool: Arc::clone(&pool) }).collect()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa.family()
    }

    /// How many threads compute, the caller's among them.
    pub fn num_threads(&self) -> usize {
        self.pool.num_threads()
    }

    /// Runs `run(thread, unit)` for every unit, each once, on the device's threads.
    ///
    /// What a unit is never depends on the number of threads, and units write apart from each other,
    /// so results do not depend on who runs what.
    fn for_each_unit(&self, num_units: usize, run: &(dyn Fn(usize, usize) + Sync)) {
        self.pool.run(num_units, run);
    }
}

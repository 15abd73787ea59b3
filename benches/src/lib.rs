//! The bench harness: measures servers over HTTP, ours and any other that speaks OpenAI's protocol, and our engine alone.
//!
//! `serve` knows nothing of the engine: what it prints is what a client sees. `gateway` measures what a gateway adds. `latency` and `throughput` drive an engine in
//! this process, which the composition root has started. Results that were kept, and what lost, stand in
//! `benches/results.md`.

mod dataset;
mod figures;
mod goodput;
mod machine;
mod output_args;
mod random_words;
mod report;
mod sample;
mod stats;
mod stopwatch;

pub mod gateway;
pub mod gpu_report;
mod in_process;
pub mod latency;
pub mod serve;
pub mod throughput;

pub use figures::{FailureCount, Figures, Goodput, Outcome, Wanted};
pub use goodput::Objective;
pub use output_args::OutputArgs;
pub use report::RunReport;
pub use sample::{Failure, FailureKind, Sample};
pub use stats::{Rank, Summary};

//! Decides what each forward pass computes: a deterministic state machine over requests and KV blocks.
//!
//! No async, no IO, no threads, no clock (`now` is an argument), no tensors. The same calls give the same decisions.
//!
//! - [`Scheduler`]: `submit`, `schedule`, `complete`, `fail`, `abort`, `finish`; start reading there.
//! - `sequence`: one sequence, waiting (without blocks) or running (with them).
//! - `waiting_queue`: who is next.
//! - `block_pool`, `prefix_cache`: who holds which block, and what is in it.
//!
//! In a request's path: the engine thread calls this between forward passes.

mod block_pool;
mod config;
mod error;
mod output;
mod prefix_cache;
mod request;
mod requests;
mod scheduler;
mod sequence;
mod stats;
mod waiting_queue;

pub use config::SchedulerConfig;
pub use error::{ConfigError, InvariantError, SubmitError};
pub use output::{Admission, RowResult, ScheduledRow, SchedulerOutput, SequenceUpdate};
pub use request::{PrefixUse, SubmitRequest};
pub use scheduler::Scheduler;
pub use stats::SchedulerStats;

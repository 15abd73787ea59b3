//! The operations of a transformer's forward pass, on a CPU or a GPU.
//!
//! The decoder in `spillway-models` calls [`ops`] over buffers made at start; each op checks its
//! arguments and dispatches on the [`Device`]. Nothing allocates during a step.
//!
//! # Invariants
//!
//! - A token's result does not depend on how many tokens share the step, on chunking, on the KV block
//!   size or on the number of threads: every output element is reduced in one fixed order. On the CPU
//!   this holds bit for bit.
//! - This is the only crate with `unsafe` (but for the file mapping of weights); every op has a
//!   checked safe wrapper.
//!
//! # Deliberately absent
//!
//! Models, files, tokens' meaning, sampling: nothing of ours is imported here.

#![cfg_attr(
    not(feature = "cuda"),
    expect(clippy::unnecessary_wraps, reason = "only a GPU's arm of some functions can fail")
)]

pub mod batch;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod e4m3;
mod error;
pub mod feed;
pub mod kv;
pub mod ops;
mod rates;
mod recorded;
#[cfg(feature = "cuda")]
pub mod sampling;
pub mod tensor;
pub mod weight;

pub use batch::{BatchLimits, BatchRow, Rehearsal, StepBatch};
pub use cpu::{CpuDevice, CpuOptions, Isa, IsaChoice};
pub use device::{Device, Workspace, WorkspaceLimits};
pub use error::KernelError;
pub use feed::{SAMPLED_FLAG, TokenFeed};
pub use kv::{KvLayout, PagedKv};
pub use rates::DeviceRates;
pub use recorded::RecordedSteps;
pub use tensor::{DType, Tensor, TensorView, TensorViewMut};
pub use weight::{ComputeType, PackedWeight, Quantisation, WeightSource, WeightType};

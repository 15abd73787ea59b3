//! The NVIDIA GPU: driver, memory, launches, graphs, and one typed wrapper for each kernel.
//!
//! Only the driver is needed at run time, and it is looked for then: a binary with this module starts
//! on any machine. [`probe()`] answers whether there is a device; nothing else here may run before it
//! has, and [`CudaDevice::new`] sees to that.
//!
//! # Invariants
//!
//! - One stream, so work happens in the order it was asked for.
//! - One allocation, made at start; a step allocates nothing, so its addresses are fixed.
//! - Kernels are reached through [`ops`] only, which checks every shape before a launch.
//!
//! - Nothing here has run on a device yet: the build checks types and names, [`selftest`] is what will
//!   check results.
//!
//! # Deliberately absent
//!
//! What a step consists of: that is the decoder's, in `spillway-models`.

mod arena;
pub mod bench;
mod blaslt;
mod buffer;
mod device;
pub(crate) mod dispatch;
mod error;
mod functions;
mod graph;
mod launch;
mod libraries;
#[cfg(any(feature = "candle-cuda", all(test, target_arch = "x86_64", target_os = "linux")))]
mod linked;
pub mod ops;
mod probe;
pub mod selftest;
mod staging;
mod timer;

pub use arena::{ALIGNMENT_BYTES, ArenaSize, ArenaUsage};
pub use buffer::{DeviceBuffer, DeviceElement, DeviceSlice, DeviceSliceMut};
pub use device::{CudaConfig, CudaDevice, LaunchOverlap, Products};
pub use error::CudaError;
pub use functions::KernelResources;
pub use graph::{GraphBuckets, StepGraph};
#[cfg(feature = "candle-cuda")]
pub use libraries::missing_for_candle;
pub use probe::{
    ComputeCapability, CudaProbe, DeviceInfo, DriverVersion, MIN_COMPUTE_CAPABILITY, MIN_DRIVER, free_bytes,
    probe,
};
pub use staging::{Readback, Readbacks, StagedPart, StepUpload};
pub use timer::DeviceTimer;

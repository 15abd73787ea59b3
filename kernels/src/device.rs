//! The device that computes, and the scratch memory of its ops.
//!
//! [`Device`] is a closed set: each op has one `match` over it. Cloning is cheap and names the same
//! device.

use crate::cpu::{CpuDevice, CpuOptions, CpuWorkspace};
use crate::error::KernelError;

/// Where tensors live and ops run.
#[derive(Debug, Clone)]
pub enum Device {
    /// The processor, with its own fixed threads.
    Cpu(CpuDevice),
}

impl Device {
    /// The processor as a device.
    ///
    /// # Errors
    ///
    /// As [`CpuDevice::new`].
    pub fn cpu(options: &CpuOptions) -> Result<Self, KernelError> {
        Ok(Self::Cpu(CpuDevice::new(options)?))
    }
}

/// The largest step that a [`Workspace`] is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// Most tokens in one step: rows of `x` in [`crate::ops::linear`].
    pub max_tokens: usize,
    /// Most columns of `x` in [`crate::ops::linear`]: the widest of hidden and feed-forward size.
    pub max_columns: usize,
    /// Columns of one attention head.
    pub head_dim: usize,
}

/// Scratch memory of ops, made once, so that no op allocates.
///
/// One per stream of steps; an op borrows it mutably while it runs.
#[derive(Debug)]
pub enum Workspace {
    /// For [`Device::Cpu`].
    Cpu(CpuWorkspace),
}

impl Workspace {
    /// Scratch memory for steps up to `limits` on `device`.
    ///
    /// # Errors
    ///
    /// [`KernelError::OutOfMemory`], or [`KernelError::OverLimit`] for a head wider than
    /// [`crate::kv::MAX_HEAD_DIM`].
    pub fn new(device: &Device, limits: WorkspaceLimits) -> Result<Self, KernelError> {
        match device {
            Device::Cpu(cpu) => Ok(Self::Cpu(CpuWorkspace::new(cpu, limits)?)),
        }
    }
}

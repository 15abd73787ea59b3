//! The device that computes, and the scratch memory of its ops.
//!
//! [`Device`] is a closed set: each op has one `match` over it. Cloning is cheap and names the same
//! device.

use crate::cpu::{CpuDevice, CpuOptions, CpuWorkspace};
#[cfg(feature = "cuda")]
use crate::cuda::dispatch::CudaWorkspace;
#[cfg(feature = "cuda")]
use crate::cuda::{CudaConfig, CudaDevice};
use crate::error::KernelError;
use crate::kv::CPU_DTYPES;
#[cfg(feature = "cuda")]
use crate::kv::GPU_DTYPES;
use crate::tensor::DType;

/// Where tensors live and ops run.
#[derive(Debug, Clone)]
pub enum Device {
    /// The processor, with its own fixed threads.
    Cpu(CpuDevice),
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaDevice),
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

    /// An NVIDIA GPU as a device.
    ///
    /// # Errors
    ///
    /// As [`CudaDevice::new`].
    #[cfg(feature = "cuda")]
    pub fn cuda(config: CudaConfig) -> Result<Self, KernelError> {
        Ok(Self::Cuda(CudaDevice::new(config)?))
    }

    /// The processor, for an op that only it computes.
    ///
    /// # Errors
    ///
    /// [`KernelError::CpuOnly`] on a GPU.
    pub(crate) fn expect_cpu(&self, op: &'static str) -> Result<&CpuDevice, KernelError> {
        #[cfg(not(feature = "cuda"))]
        let _ = op;
        match self {
            Self::Cpu(cpu) => Ok(cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Err(KernelError::CpuOnly { op }),
        }
    }

    /// Type of what ops hand to each other. The residual stream and logits are f32 on every device, as are weights of
    /// norms, biases and tables of angles.
    pub fn activation_dtype(&self) -> DType {
        match self {
            Self::Cpu(_) => DType::F32,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => DType::BF16,
        }
    }

    /// Whether the host reads the device's tensors where they are.
    pub fn shares_host_memory(&self) -> bool {
        match self {
            Self::Cpu(_) => true,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => false,
        }
    }

    /// The types that keys and values may have in the cache, the preferred one first.
    pub fn kv_dtypes(&self) -> &'static [DType] {
        match self {
            Self::Cpu(_) => CPU_DTYPES,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => GPU_DTYPES,
        }
    }

    /// Bytes left of a GPU's arena; none for the processor, whose memory is the machine's.
    pub fn free_bytes(&self) -> Option<usize> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Some(cuda.arena_usage().free_bytes),
        }
    }
}

/// The largest step that a [`Workspace`] is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// Most tokens in one step: rows of `x` in [`crate::ops::linear`].
    pub max_tokens: usize,
    /// Most rows (sequences) in one step.
    pub max_rows: usize,
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
    /// For [`Device::Cuda`].
    #[cfg(feature = "cuda")]
    Cuda(CudaWorkspace),
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
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Ok(Self::Cuda(CudaWorkspace::new(cuda, limits)?)),
        }
    }
}

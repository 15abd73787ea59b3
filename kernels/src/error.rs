//! Why an op, a buffer or a device was refused.
//!
//! Ops check shapes, types and indices before they touch memory, so that a wrong argument is one of
//! these errors and never an access outside a buffer.

use crate::cpu::Isa;
use crate::tensor::DType;

/// What went wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Two arguments of an op do not fit together; the caller has a bug or a wrong file.
    #[error("`{name}` has shape {actual:?}, expected {expected:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its shape.
        actual: [usize; 2],
        /// The shape that the other arguments call for.
        expected: [usize; 2],
    },

    /// An argument holds elements of a type that this op does not take on this device.
    #[error("`{name}` has element type {actual}, expected {expected}")]
    ElementType {
        /// The argument.
        name: &'static str,
        /// Its type.
        actual: DType,
        /// The type that is taken.
        expected: DType,
    },

    /// A number lies outside what was prepared for.
    #[error("`{name}` is {value}, limit {limit}")]
    OverLimit {
        /// What the number counts.
        name: &'static str,
        /// The number.
        value: usize,
        /// The largest that is taken.
        limit: usize,
    },

    /// A number breaks a rule other than a maximum.
    #[error("`{name}` is {value}, but must {rule}")]
    Invalid {
        /// What the number is.
        name: &'static str,
        /// The number.
        value: usize,
        /// What it must be, as in "be a multiple of 32".
        rule: &'static str,
    },

    /// A list of bytes is not as long as its shape says; the file is cut short or misread.
    #[error("`{name}` holds {actual_bytes} bytes, expected {expected_bytes}")]
    ByteLength {
        /// What the bytes are.
        name: &'static str,
        /// How many there are.
        actual_bytes: usize,
        /// How many the shape calls for.
        expected_bytes: usize,
    },

    /// The processor lacks the chosen instruction set.
    #[error("this processor lacks {isa} (needs {needs}); choose `auto` or another instruction set")]
    IsaMissing {
        /// The instruction set that was asked for.
        isa: Isa,
        /// The features it needs.
        needs: &'static str,
    },

    /// The system refused memory.
    #[error("cannot allocate {bytes} bytes of host memory; free some, or lower the KV cache's size")]
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },

    /// The device itself failed, not the op: nothing that it computes can be relied on any more.
    #[error("the device broke")]
    DeviceBroken {
        /// What its driver says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A tensor, a weight or a workspace belongs to another device than the one that computes.
    #[error("`{name}` is in the memory of another device than the one that computes")]
    OtherDevice {
        /// The argument.
        name: &'static str,
    },

    /// Products on the CPU do not take such weights.
    #[error("{what} weights are served on a GPU only; take int8 or int4 on the CPU")]
    GpuOnly {
        /// What they would be quantised to.
        what: crate::weight::Quantisation,
    },

    /// An op has no form for a GPU.
    #[cfg(feature = "cuda")]
    #[error("{op} is computed on the CPU only; choose the device `cpu` for this model")]
    CpuOnly {
        /// What it does.
        op: &'static str,
    },

    /// The GPU cannot do what it was asked for; it goes on.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(crate::cuda::CudaError),

    /// The system refused a thread.
    #[error("cannot start compute thread {thread_idx} of {num_threads}")]
    Thread {
        /// Which thread.
        thread_idx: usize,
        /// How many were asked for.
        num_threads: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl KernelError {
    /// Whether no later op can succeed either, because the device is lost to this process.
    pub fn is_device_broken(&self) -> bool {
        matches!(self, Self::DeviceBroken { .. })
    }
}

#[cfg(feature = "cuda")]
impl From<crate::cuda::CudaError> for KernelError {
    /// What the driver itself refuses is no matter of arguments: a kernel's fault spoils the whole context.
    fn from(error: crate::cuda::CudaError) -> Self {
        match error {
            crate::cuda::CudaError::Driver { .. } => Self::DeviceBroken { source: Box::new(error) },
            other => Self::Cuda(other),
        }
    }
}

/// Refuses a shape other than `expected`.
pub(crate) fn expect_shape(
    name: &'static str,
    actual: [usize; 2],
    expected: [usize; 2],
) -> Result<(), KernelError> {
    if actual == expected { Ok(()) } else { Err(KernelError::Shape { name, actual, expected }) }
}

/// Refuses a number over `limit`.
pub(crate) fn expect_at_most(name: &'static str, value: usize, limit: usize) -> Result<(), KernelError> {
    if value <= limit { Ok(()) } else { Err(KernelError::OverLimit { name, value, limit }) }
}

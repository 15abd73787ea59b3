//! What can go wrong on a CUDA device, by what the caller can do about it.

use cudarc::driver::DriverError;

use super::probe::{ComputeCapability, DriverVersion};

/// Why the CUDA device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// There is no driver on this machine; run on the CPU.
    #[error(
        "no NVIDIA driver on this machine (libcuda.so.1 is not found); install driver 580 or newer, or use the CPU"
    )]
    DriverMissing,

    /// The driver is older than the bindings; calls it lacks would abort the process.
    #[error(
        "the NVIDIA driver supports CUDA {found}, at least {needed} is needed; install driver 580 or newer"
    )]
    DriverTooOld {
        /// What the installed driver supports.
        found: DriverVersion,
        /// What is needed.
        needed: DriverVersion,
    },

    /// The driver is there but shows no device.
    #[error("the NVIDIA driver shows no device; look at nvidia-smi and at CUDA_VISIBLE_DEVICES")]
    NoDevice,

    /// The device asked for does not exist.
    #[error("device cuda:{ordinal} does not exist, the driver shows {num_devices}")]
    NoSuchDevice {
        /// The device asked for.
        ordinal: usize,
        /// How many there are.
        num_devices: usize,
    },

    /// The device is too old for the kernels.
    #[error("device `{name}` has compute capability {found}, at least {needed} is needed")]
    DeviceTooOld {
        /// The device's name.
        name: String,
        /// What it has.
        found: ComputeCapability,
        /// What the kernels need.
        needed: ComputeCapability,
    },

    /// A kernel is not in the binary: the build and the launch code disagree.
    #[error("kernel `{name}` is not in this binary's modules; build it again from one source tree")]
    KernelMissing {
        /// The kernel's name.
        name: &'static str,
    },

    /// The kernels are there, but the driver refuses them.
    #[error("the driver cannot load the kernels of `{module}` on this device")]
    ModuleRefused {
        /// The source file's stem.
        module: &'static str,
        /// What the driver says.
        #[source]
        source: DriverError,
    },

    /// The device has too little free memory for the arena.
    #[error(
        "an arena of {wanted_bytes} bytes was asked for, the device has {free_bytes} of {total_bytes} bytes free; what fits is an arena of {fitting_bytes} bytes"
    )]
    OutOfDeviceMemory {
        /// The arena asked for.
        wanted_bytes: usize,
        /// Free on the device.
        free_bytes: usize,
        /// The device's memory.
        total_bytes: usize,
        /// The largest arena that leaves the driver its reserve.
        fitting_bytes: usize,
    },

    /// The arena has no room for a buffer.
    #[error(
        "{what} needs {wanted_bytes} bytes, the arena of {capacity_bytes} bytes has {largest_free_bytes} in one piece ({free_bytes} in all); use a smaller model or context, stronger quantisation, or fewer KV blocks"
    )]
    ArenaFull {
        /// What the buffer is for.
        what: String,
        /// Its size.
        wanted_bytes: usize,
        /// The arena's size.
        capacity_bytes: usize,
        /// What is free.
        free_bytes: usize,
        /// The largest free piece.
        largest_free_bytes: usize,
    },

    /// A pinned staging buffer is too small for a step.
    #[error("a step's input needs {wanted_bytes} bytes, its staging buffer holds {capacity_bytes}")]
    StagingFull {
        /// What the step needs.
        wanted_bytes: usize,
        /// What was allocated at start.
        capacity_bytes: usize,
    },

    /// An op was asked for a batch that was not sent to the device.
    #[error("the step's batch was not uploaded before its first op")]
    NotUploaded,

    /// A kernel does not fit the device, or a step is too large for it.
    #[error(
        "the kernel `{kernel}` would need {found} {what}, the device has {limit}; use fewer tokens a step (--max-num-batched-tokens), or a GPU with more shared memory"
    )]
    LaunchLimit {
        /// Which kernel.
        kernel: &'static str,
        /// What there is too little of.
        what: &'static str,
        /// What is needed.
        found: usize,
        /// What there is.
        limit: usize,
    },

    /// Arguments of a kernel disagree.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which argument.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What the others demand.
        expected: usize,
    },

    /// A value is outside what a kernel supports.
    #[error("{op}: {what} is {found}, supported is {supported}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// Which argument.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        supported: &'static str,
    },

    /// The driver refused a call, or reports an earlier kernel's fault. The context may be lost.
    #[error("CUDA refused {call}")]
    Driver {
        /// What was being done.
        call: &'static str,
        /// What the driver says.
        #[source]
        source: DriverError,
    },

    /// cuBLASLt refused a product.
    #[error("cuBLASLt refused {call}: {status}")]
    Blas {
        /// What was being done.
        call: &'static str,
        /// Its status.
        status: String,
    },

    /// A capture produced no graph.
    #[error("capturing the step for {bucket} rows recorded nothing")]
    EmptyGraph {
        /// The batch bucket.
        bucket: usize,
    },
}

/// Names the call in a driver's error.
pub(crate) trait Context<T> {
    /// Turns a driver's error into ours.
    fn context(self, call: &'static str) -> Result<T, CudaError>;
}

impl<T> Context<T> for Result<T, DriverError> {
    fn context(self, call: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { call, source })
    }
}

/// Checks that two sizes agree.
pub(crate) fn expect_equal(
    op: &'static str,
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), CudaError> {
    if found == expected { Ok(()) } else { Err(CudaError::Shape { op, what, found, expected }) }
}

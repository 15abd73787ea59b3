//! NVIDIA GPUs: found by asking the driver, opened by taking their memory.

use std::fmt;

use serde_json::{Value, json};
use spillway_kernels::cuda::{
    ArenaSize, CudaConfig, CudaError, DeviceInfo, DriverVersion, LaunchOverlap, MIN_COMPUTE_CAPABILITY,
    Products, free_bytes, probe,
};
use spillway_kernels::{Device, KernelError};

use crate::config::{BatchInvariance, CudaGraphs, GpuSettings, KernelOverlap};

/// A GPU that was found.
#[derive(Debug)]
pub(in crate::app) struct Gpu {
    info: DeviceInfo,
    driver: DriverVersion,
}

/// Why a GPU cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(in crate::app) struct GpuError(#[from] KernelError);

impl From<CudaError> for GpuError {
    fn from(error: CudaError) -> Self {
        Self(error.into())
    }
}

impl Gpu {
    /// Finds the GPU of this number, or the first that the kernels run on.
    pub(super) fn find(ordinal: Option<usize>) -> Result<Self, GpuError> {
        let found = probe()?;
        let num_devices = found.devices.len();
        let is_usable = |info: &DeviceInfo| info.compute_capability >= MIN_COMPUTE_CAPABILITY;
        // Without a usable one, the first stands for all in the message.
        let wanted = ordinal.or_else(|| found.devices.iter().position(is_usable)).unwrap_or_default();
        let Some(info) = found.devices.into_iter().nth(wanted) else {
            return Err(CudaError::NoSuchDevice { ordinal: wanted, num_devices }.into());
        };
        if !is_usable(&info) {
            let (name, found) = (info.name, info.compute_capability);
            return Err(CudaError::DeviceTooOld { name, found, needed: MIN_COMPUTE_CAPABILITY }.into());
        }
        Ok(Self { info, driver: found.driver })
    }

    /// Takes its memory and loads the kernels.
    pub(super) fn open(self, settings: GpuSettings) -> Result<Device, GpuError> {
        let device = Device::cuda(self.config(settings))?;
        if let Device::Cuda(cuda) = &device {
            // A library that is installed and not found would be missed by nobody, though prompts are slower without it.
            let products = match (settings.invariance, cuda.has_blas()) {
                (BatchInvariance::Kept, _) => "our own, the same for any number of rows",
                (BatchInvariance::Free, true) => "cuBLASLt's",
                (BatchInvariance::Free, false) => {
                    "our own: libcublasLt.so.13 is not found (`pip install nvidia-cublas`, and its folder in LD_LIBRARY_PATH)"
                }
            };
            tracing::info!(products, "products of many rows in bf16");
        }
        Ok(device)
    }

    /// The memory that opening it would take now.
    pub(in crate::app) fn arena_bytes(&self, settings: GpuSettings) -> Result<u64, GpuError> {
        Ok(self.config(settings).arena.of_free(free_bytes(self.info.ordinal)?) as u64)
    }

    /// The memory that is free on it now.
    pub(in crate::app) fn free_bytes(&self) -> Result<u64, GpuError> {
        Ok(free_bytes(self.info.ordinal)? as u64)
    }

    /// What is told of it.
    pub(in crate::app) fn facts(&self) -> Value {
        json!({
            "device": format!("cuda:{}", self.info.ordinal),
            "name": self.info.name,
            "compute_capability": self.info.compute_capability.to_string(),
            "multiprocessors": self.info.num_multiprocessors,
            "driver_cuda": self.driver.to_string(),
            "memory_bytes": self.info.total_bytes,
        })
    }

    fn config(&self, settings: GpuSettings) -> CudaConfig {
        CudaConfig {
            ordinal: self.info.ordinal,
            arena: ArenaSize::FractionOfFree(settings.memory_utilization as f32),
            products: match settings.invariance {
                BatchInvariance::Free => Products::Fastest,
                BatchInvariance::Kept => Products::BatchInvariant,
            },
            overlap: match settings.overlap {
                KernelOverlap::On => LaunchOverlap::Overlapped,
                KernelOverlap::Off => LaunchOverlap::Plain,
            },
            records_steps: settings.graphs == CudaGraphs::On,
        }
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceInfo { ordinal, name, compute_capability, total_bytes, .. } = &self.info;
        let driver = self.driver;
        let mib = total_bytes >> 20;
        write!(
            formatter,
            "cuda:{ordinal}, {name} (compute capability {compute_capability}, {mib} MiB, driver for CUDA {driver})"
        )
    }
}

impl GpuError {
    /// Says that the processor computes, and why.
    pub(super) fn tell_fallback(&self) {
        let mut reason = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        tracing::info!(reason, "computing on the CPU");
    }
}

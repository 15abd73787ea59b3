//! GPUs, for a build without the feature `cuda`: there are none, but their driver may be.

use std::fmt;

use serde_json::Value;
use spillway_kernels::Device;

use crate::app::check::facts::gpu_driver;
use crate::config::GpuSettings;

/// How a binary with GPU code is made.
const BUILD: &str = "export CUDA_HOME=$(scripts/cuda-toolkit.sh); cargo build --release --features cuda";

/// A GPU that was found; this build finds none.
#[derive(Debug)]
pub(in crate::app) enum Gpu {}

/// Why there is no GPU.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum GpuError {
    /// This binary cannot use any.
    #[error("this binary was built without GPU code; build it with `{BUILD}`, or use `cpu` or `auto`")]
    NotBuilt {
        /// The version of NVIDIA's driver, if there is one.
        driver: Option<String>,
    },
}

impl Gpu {
    /// Finds none.
    pub(super) fn find(_ordinal: Option<usize>) -> Result<Self, GpuError> {
        Err(GpuError::NotBuilt { driver: gpu_driver() })
    }

    pub(super) fn open(self, _settings: GpuSettings) -> Result<Device, GpuError> {
        match self {}
    }

    pub(in crate::app) fn arena_bytes(&self, _settings: GpuSettings) -> Result<u64, GpuError> {
        match *self {}
    }

    pub(in crate::app) fn free_bytes(&self) -> Result<u64, GpuError> {
        match *self {}
    }

    pub(in crate::app) fn facts(&self) -> Value {
        match *self {}
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl GpuError {
    /// Says that the processor computes, where a user could have expected otherwise.
    pub(super) fn tell_fallback(&self) {
        let Self::NotBuilt { driver } = self;
        if let Some(driver) = driver {
            tracing::warn!(
                driver,
                "computing on the CPU although there is an NVIDIA driver: this binary was built without GPU code; build it with `{BUILD}`"
            );
        }
    }
}

//! The checked `[device]`: what was asked for. Whether it is there is found out by `crate::app::device`.

use std::fmt;

use spillway_kernels::{CpuOptions, Isa, IsaChoice};

use super::raw::{RawDevice, RawIsa};
use super::{ConfigError, out_of_range};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceConfig {
    /// Which device.
    pub choice: DeviceChoice,
    /// How the processor computes, if it does.
    pub cpu: CpuOptions,
    /// How a GPU computes, if one does.
    pub gpu: GpuSettings,
}

/// Which device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first usable GPU, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// This NVIDIA GPU and nothing else.
    Cuda {
        /// Its number, as the driver counts.
        ordinal: usize,
    },
}

/// How a GPU computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuSettings {
    /// Part of the free memory that is taken at start: above 0, at most 1.
    pub memory_utilization: f64,
    /// Whether a row's result may depend on how many others share its step.
    pub invariance: BatchInvariance,
    /// Whether kernels overlap.
    pub overlap: KernelOverlap,
    /// Whether steps are recorded.
    pub graphs: CudaGraphs,
}

/// Whether a row's result may depend on how many others share its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchInvariance {
    /// It may, in the last bits.
    Free,
    /// It never does.
    Kept,
}

/// Whether a kernel may begin while the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelOverlap {
    /// It may.
    On,
    /// It waits.
    Off,
}

/// Whether steps of decodes alone are recorded as CUDA graphs and replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CudaGraphs {
    /// They are.
    On,
    /// Every kernel of every step is launched by itself.
    Off,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda { ordinal } => write!(formatter, "cuda:{ordinal}"),
        }
    }
}

impl DeviceChoice {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda { ordinal: 0 }),
            _ => Some(Self::Cuda { ordinal: text.strip_prefix("cuda:")?.parse().ok()? }),
        }
    }
}

impl RawDevice {
    pub(super) fn validate(self) -> Result<DeviceConfig, ConfigError> {
        let Some(choice) = DeviceChoice::parse(&self.device) else {
            return Err(out_of_range("device", self.device, "auto, cpu or cuda[:N]"));
        };
        let fraction = self.gpu_memory_utilization;
        if !(fraction > 0.0 && fraction <= 1.0) {
            return Err(out_of_range("gpu-memory-utilization", fraction, "above 0 and at most 1"));
        }
        let isa = match self.cpu_isa {
            RawIsa::Auto => IsaChoice::Auto,
            RawIsa::Avx512 => IsaChoice::Exactly(Isa::Avx512),
            RawIsa::Avx2 => IsaChoice::Exactly(Isa::Avx2),
            RawIsa::Portable => IsaChoice::Exactly(Isa::Portable),
        };
        Ok(DeviceConfig {
            choice,
            cpu: CpuOptions { isa, num_threads: self.threads },
            gpu: GpuSettings {
                memory_utilization: fraction,
                invariance: if self.batch_invariant { BatchInvariance::Kept } else { BatchInvariance::Free },
                overlap: if self.kernel_overlap { KernelOverlap::On } else { KernelOverlap::Off },
                graphs: if self.cuda_graphs { CudaGraphs::On } else { CudaGraphs::Off },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_auto_cpu_or_a_numbered_gpu() {
        let shown = |text| DeviceChoice::parse(text).map(|choice| choice.to_string());
        for (text, expected) in [
            ("auto", "auto"),
            ("cpu", "cpu"),
            ("cuda", "cuda:0"),
            ("cuda:0", "cuda:0"),
            ("cuda:12", "cuda:12"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda0", "CPU"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_of_the_memory_is_above_nothing_and_at_most_all() {
        let with = |gpu_memory_utilization| RawDevice { gpu_memory_utilization, ..RawDevice::default() };
        for fraction in [0.01, 0.9, 1.0] {
            assert!(with(fraction).validate().is_ok(), "{fraction}");
        }
        for fraction in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            let error = with(fraction).validate().expect_err("no such part").to_string();
            assert!(error.contains("--gpu-memory-utilization"), "{error}");
        }
    }
}

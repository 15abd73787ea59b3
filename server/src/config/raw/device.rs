//! `[device]`: where it runs.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::RawIsa;

/// `[device]`.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Device: keys of [device]")]
pub(in crate::config) struct RawDevice {
    /// Where to compute: auto takes the first usable GPU, and the CPU if there is none; cpu; or cuda, with the GPU's
    /// number if there are several, as in cuda:1, which ends with exit code 3 if it cannot be used.
    #[arg(long, value_name = "auto|cpu|cuda[:N]", default_value_t = RawDevice::default().device)]
    pub(in crate::config) device: String,
    /// Vector instructions of the CPU; auto takes the best that the processor has.
    #[arg(long, value_enum, default_value_t = RawDevice::default().cpu_isa)]
    pub(in crate::config) cpu_isa: RawIsa,
    /// Threads that compute; as many as the process may run at once if absent.
    #[arg(long, value_name = "COUNT")]
    pub(in crate::config) threads: Option<NonZeroUsize>,
    /// Part of the GPU's free memory that is taken at start, above 0 and at most 1: weights, buffers and the KV cache
    /// live in it, and no more is taken later.
    #[arg(long, value_name = "FRACTION", default_value_t = RawDevice::default().gpu_memory_utilization)]
    pub(in crate::config) gpu_memory_utilization: f64,
    /// On a GPU, give each request the same bits whatever shares its steps: slower. On the CPU it is always so.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = RawDevice::default().batch_invariant
    )]
    pub(in crate::config) batch_invariant: bool,
    /// Let each kernel of a GPU begin while the one before it ends; off to measure what that brings.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = RawDevice::default().kernel_overlap
    )]
    pub(in crate::config) kernel_overlap: bool,
    /// Record steps of decodes alone as CUDA graphs, at start, and replay them; off to measure what that brings.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = RawDevice::default().cuda_graphs
    )]
    pub(in crate::config) cuda_graphs: bool,
}

impl Default for RawDevice {
    fn default() -> Self {
        Self {
            device: "auto".to_owned(),
            cpu_isa: RawIsa::Auto,
            threads: None,
            gpu_memory_utilization: 0.9,
            batch_invariant: false,
            kernel_overlap: true,
            cuda_graphs: true,
        }
    }
}

//! Which device computes: asked for in the config, looked for before the model is, opened once that is there.
//!
//! Looking never takes memory, so that a download is not waited for with a GPU in hand, and a machine without what was
//! asked for says so at once. `gpu` has two forms of one face: a build without the feature `cuda` finds no GPU.

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "device/no_gpu.rs"]
mod gpu;

use spillway_kernels::Device;
use spillway_models::{ExecutorKind, KvCacheType};

use crate::config::{DeviceChoice, DeviceConfig, EngineSettings};
pub(super) use gpu::{Gpu, GpuError};

/// Exit code of a process that did not find the device that was asked for.
pub(super) const EXIT_NO_DEVICE: u8 = 3;

/// The device that will compute.
#[derive(Debug)]
pub(super) enum Found {
    /// The processor.
    Cpu,
    /// A GPU, not opened yet.
    Gpu(Gpu),
    /// A GPU that candle will open for itself; what is not candle's is on the processor.
    GpuOfCandle(Gpu),
}

/// The device that was asked for cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeviceError {
    /// There is none, or it does not do.
    #[error("--device {choice} cannot be used")]
    Unusable {
        /// What was asked for.
        choice: DeviceChoice,
        /// Why.
        #[source]
        source: GpuError,
    },
    /// The executor knows no GPU in this build.
    #[error(
        "--device is {choice}, but this binary's --executor candle computes on the CPU: leave one of them out, or build \
         it with `cargo build --release --features candle-cuda`"
    )]
    Executor {
        /// What was asked for.
        choice: DeviceChoice,
    },
    /// The cache is to hold what only our code on a GPU takes.
    #[error(
        "--kv-cache-dtype fp8 needs a GPU and --executor spillway: the KV cache of the CPU holds f32, f16 or bf16, so leave \
         it at auto, or choose a GPU with --device cuda"
    )]
    KvCache,
}

/// Looks for the device that the config asks for.
///
/// # Errors
///
/// [`DeviceError`] if a GPU is asked for by name and cannot be used; `auto` takes the processor then, and says why. Also
/// if the device is not one whose KV cache holds what the config asks for.
pub(super) fn find(config: &EngineSettings) -> Result<Found, DeviceError> {
    let found = find_by_choice(config)?;
    match (&found, config.scheduler.kv_cache) {
        (Found::Cpu | Found::GpuOfCandle(_), KvCacheType::Fp8) => Err(DeviceError::KvCache),
        _ => Ok(found),
    }
}

fn find_by_choice(config: &EngineSettings) -> Result<Found, DeviceError> {
    let choice = config.device.choice;
    match (choice, config.model.executor) {
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, ExecutorKind::Candle(_)) => Ok(Found::Cpu),
        (DeviceChoice::Cuda { .. }, ExecutorKind::Candle(_)) if !cfg!(feature = "candle-cuda") => {
            Err(DeviceError::Executor { choice })
        }
        (DeviceChoice::Cuda { ordinal }, ExecutorKind::Candle(_)) => {
            let gpu = find_gpu(ordinal)?;
            tracing::info!("candle computes on {gpu}");
            Ok(Found::GpuOfCandle(gpu))
        }
        (DeviceChoice::Cuda { ordinal }, ExecutorKind::Native) => {
            let gpu = find_gpu(ordinal)?;
            tracing::info!("computing on {gpu}");
            Ok(Found::Gpu(gpu))
        }
        (DeviceChoice::Auto, ExecutorKind::Native) => Ok(match Gpu::find(None) {
            Ok(gpu) => {
                tracing::info!("computing on {gpu}");
                Found::Gpu(gpu)
            }
            Err(error) => {
                error.tell_fallback();
                Found::Cpu
            }
        }),
    }
}

/// Finds the GPU of this number.
///
/// # Errors
///
/// [`DeviceError`] if there is none, or it cannot be used.
pub(super) fn find_gpu(ordinal: usize) -> Result<Gpu, DeviceError> {
    let choice = DeviceChoice::Cuda { ordinal };
    Gpu::find(Some(ordinal)).map_err(|source| DeviceError::Unusable { choice, source })
}

/// Opens it, which takes a GPU's memory. A GPU that `auto` found and that cannot be opened is passed over.
///
/// # Errors
///
/// [`DeviceError`] as in [`find`]; the processor's error if it lacks the instructions asked for.
pub(super) fn open(found: Found, config: &DeviceConfig) -> anyhow::Result<Device> {
    let choice = config.choice;
    match found {
        Found::Cpu | Found::GpuOfCandle(_) => {}
        Found::Gpu(gpu) => match gpu.open(config.gpu) {
            Ok(device) => return Ok(device),
            Err(source) if choice == DeviceChoice::Auto => source.tell_fallback(),
            Err(source) => return Err(DeviceError::Unusable { choice, source }.into()),
        },
    }
    Ok(Device::cpu(&config.cpu)?)
}

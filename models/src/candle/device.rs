//! Where candle computes, opened with what candle needs there.

use candle_core::Device;

use crate::error::ModelError;
use crate::load::CandleDevice;

/// Opens the device.
///
/// # Errors
///
/// [`ModelError::CandleDevice`] if it is a GPU that candle cannot use.
pub(super) fn open(device: CandleDevice) -> Result<Device, ModelError> {
    match device {
        CandleDevice::Cpu => Ok(Device::Cpu),
        CandleDevice::Cuda { ordinal } => {
            open_gpu(ordinal).map_err(|problem| ModelError::CandleDevice { ordinal, problem })
        }
    }
}

/// A GPU with a stream of its own: the default one would be another for each thread.
#[cfg(feature = "candle-cuda")]
fn open_gpu(ordinal: usize) -> Result<Device, String> {
    // Asked for first, because candle would only tell the status of the first call that fails.
    spillway_kernels::cuda::probe().map_err(|error| error.to_string())?;
    let missing = spillway_kernels::cuda::missing_for_candle();
    if !missing.is_empty() {
        return Err(format!(
            "it needs {}, which the loader does not find; install them (`pip install nvidia-cublas==13.0.2.14 \
             nvidia-curand==10.4.0.35`) and set LD_LIBRARY_PATH to their folder",
            missing.join(" and ")
        ));
    }
    Device::new_cuda_with_stream(ordinal).map_err(|error| error.to_string())
}

/// This build has no GPU code of candle's.
#[cfg(not(feature = "candle-cuda"))]
fn open_gpu(_ordinal: usize) -> Result<Device, String> {
    Err("this binary was built without candle's GPU code; build it with the feature `candle-cuda`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_candle_cannot_use_is_an_error_with_its_mend() {
        let error = open(CandleDevice::Cuda { ordinal: 99 }).expect_err("no machine has so many").to_string();
        assert!(error.starts_with("candle cannot compute on cuda:99: "), "{error}");
        if cfg!(not(feature = "candle-cuda")) {
            assert!(error.contains("the feature `candle-cuda`"), "{error}");
        }
        assert!(open(CandleDevice::Cpu).is_ok());
    }
}

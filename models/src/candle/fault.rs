//! What an error of candle's says about the device it computes on.
//!
//! candle tells a GPU's faults in the same type as its callers' mistakes. After a fault every later call fails as well, so a
//! process that took it for the mistake of one step would go on and answer nobody.

use candle_core::Error;
use spillway_kernels::KernelError;

use crate::error::ModelError;

/// What the driver calls a lack of memory: it refuses one call, and the next may succeed.
const OUT_OF_MEMORY: &str = "CUDA_ERROR_OUT_OF_MEMORY";

/// The error of a step on this device.
pub(super) fn of_step(device: &candle_core::Device, error: Error) -> ModelError {
    if device.is_cpu() { error.into() } else { of_gpu_step(error) }
}

/// The error of a step on a GPU: its device is lost unless the error is clearly about the step's arguments.
fn of_gpu_step(error: Error) -> ModelError {
    if spares_device(&error) {
        return error.into();
    }
    ModelError::Kernel(KernelError::DeviceBroken { source: Box::new(error) })
}

/// Whether a GPU goes on after an error.
fn spares_device(error: &Error) -> bool {
    match error {
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } => {
            spares_device(inner)
        }
        Error::WrappedContext { wrapped, .. } => wrapped.downcast_ref().is_some_and(spares_device),
        Error::Cuda(source) => source.to_string().contains(OUT_OF_MEMORY),
        Error::UnexpectedDType { .. }
        | Error::DTypeMismatchBinaryOp { .. }
        | Error::UnsupportedDTypeForOp(..)
        | Error::DimOutOfRange { .. }
        | Error::DuplicateDimIndex { .. }
        | Error::UnexpectedNumberOfDims { .. }
        | Error::UnexpectedShape { .. }
        | Error::ShapeMismatch { .. }
        | Error::ShapeMismatchBinaryOp { .. }
        | Error::ShapeMismatchCat { .. }
        | Error::ShapeMismatchSplit { .. }
        | Error::OnlySingleDimension { .. }
        | Error::EmptyTensor { .. }
        | Error::DeviceMismatchBinaryOp { .. }
        | Error::NarrowInvalidArgs { .. }
        | Error::InvalidIndex { .. }
        | Error::BroadcastIncompatibleShapes { .. }
        | Error::MatMulUnexpectedStriding(_)
        | Error::RequiresContiguous { .. }
        | Error::OpRequiresAtLeastOneTensor { .. }
        | Error::OpRequiresAtLeastTwoTensors { .. }
        | Error::TryFromIntError(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;

    fn is_broken(error: Error) -> bool {
        of_gpu_step(error).is_device_broken()
    }

    #[test]
    fn a_gpus_fault_is_a_broken_device_however_it_is_wrapped() {
        let fault = || Error::Cuda("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)".into());
        let traced =
            || Error::WithBacktrace { inner: Box::new(fault()), backtrace: Box::new(Backtrace::disabled()) };
        let wrapped = Error::WrappedContext { wrapped: Box::new(fault()), context: "a layer".to_owned() };
        assert!(is_broken(fault()));
        assert!(is_broken(traced()));
        assert!(is_broken(traced().context("a layer").with_path("weights")));
        assert!(is_broken(wrapped));
        assert!(is_broken(Error::Msg("something of which nothing is known".to_owned())));
        let error = of_gpu_step(traced());
        let source = std::error::Error::source(&error).and_then(std::error::Error::source);
        assert!(source.is_some_and(|source| source.to_string().contains("ILLEGAL_ADDRESS")), "{error}");
    }

    #[test]
    fn a_wrong_argument_or_a_lack_of_memory_leaves_the_device_as_it_is() {
        let wrong = || Error::EmptyTensor { op: "cat" };
        assert!(!is_broken(wrong()));
        assert!(!is_broken(wrong().context("a layer")));
        assert!(!is_broken(Error::WrappedContext { wrapped: Box::new(wrong()), context: String::new() }));
        assert!(!is_broken(Error::Cuda("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")".into())));
    }

    #[test]
    fn the_processor_never_breaks() {
        let error = of_step(&candle_core::Device::Cpu, Error::Cuda("anything".into()));
        assert!(matches!(error, ModelError::Candle(_)) && !error.is_device_broken(), "{error}");
    }
}

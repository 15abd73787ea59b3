//! From weights on disk to sampled tokens.
//!
//! An architecture is data (`DecoderSpec` and weight names, in `arch`); there is one decoder. Nothing here knows a
//! scheduler, a request or an async runtime, and nothing but `kernels` knows the device.
//!
//! In a request's path: the engine's thread calls `ModelRunner::run` once a step.

mod batch;

pub use batch::{
    BatchError, BatchLimits, BatchRow, ForwardBatch, InputToken, RowError, RowSampling, RowTokens,
    SampledToken, SampledTokens,
};

//! The decoder's ops on this device: [`crate::ops`] has checked shapes, and here its tensors, weights and
//! batches are handed to the kernels.
//!
//! Activations are bf16; the residual stream, norms, biases, tables of angles and logits are f32.

mod attention;
mod batch;
mod feed;
mod ops;
mod sampler;
mod tensor;
mod workspace;

pub(crate) use super::ops::rows::PADDING_SLOT;
pub(crate) use attention::attention;
pub(crate) use batch::{BatchShape, CudaBatch};
pub(crate) use feed::CudaFeed;
pub(crate) use ops::{
    add_rms_norm, can_gate, embed, gated_act, gated_linear, gather_rows, linear, pack, rope_and_cache,
    soft_cap,
};
pub(crate) use sampler::{CudaSampler, CudaTokens};
pub(crate) use tensor::{CudaBytes, CudaBytesMut, CudaTensor};
pub(crate) use workspace::CudaWorkspace;

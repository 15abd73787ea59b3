//! Attention of a step: one launch for its decodes, one for its chunks.

use half::bf16;

use super::batch::CudaBatch;
use super::ops::head_shape;
use super::workspace::CudaWorkspace;
use crate::cuda::CudaDevice;
use crate::cuda::ops::attention::{DecodeInput, paged_decode};
use crate::cuda::ops::cache_element::CacheElement;
use crate::cuda::ops::paged::PagedInput;
use crate::cuda::ops::prefill::{PrefillInput, paged_prefill};
use crate::e4m3::E4m3;
use crate::error::KernelError;
use crate::ops::AttentionArguments;
use crate::tensor::{DType, TensorViewMut};

/// See [`crate::ops::attention`].
pub(crate) fn attention(
    device: &CudaDevice,
    workspace: &mut CudaWorkspace,
    batch: &CudaBatch,
    arguments: AttentionArguments<'_>,
    out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    match arguments.kv.layout().dtype {
        DType::E4M3 => attend::<E4m3>(device, workspace, batch, arguments, out),
        // A cache on a GPU is of one of the two; for others, this says which it must be.
        DType::BF16 | DType::F16 | DType::F32 => attend::<bf16>(device, workspace, batch, arguments, out),
    }
}

/// The same over a cache of `T`.
fn attend<T: CacheElement>(
    device: &CudaDevice,
    workspace: &mut CudaWorkspace,
    batch: &CudaBatch,
    arguments: AttentionArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let AttentionArguments { qkv, kv, num_heads, scale, window, soft_cap } = arguments;
    let shape = head_shape(num_heads, &kv.layout());
    let qkv = qkv.as_device("qkv")?;
    let k_cache = kv.keys().view().as_device::<T>("the KV cache")?;
    let v_cache = kv.values().view().as_device::<T>("the KV cache")?;
    // A window beyond 31 bits is none: no cache holds so many tokens of one sequence.
    let window = window.and_then(|window| i32::try_from(window.get()).ok()).map(i32::cast_unsigned);
    let mut out = out.as_device_mut::<bf16>("out")?;
    let paged = |block_tables, kv_lens| PagedInput {
        qkv,
        k_cache,
        v_cache,
        block_tables,
        table_stride: batch.table_stride(),
        kv_lens,
        shape,
        window,
        scale,
        softcap: soft_cap,
    };
    let decodes = batch.decodes()?;
    if !decodes.tokens.is_empty() {
        let input = DecodeInput {
            paged: paged(decodes.tables, decodes.kv_lens),
            query_rows: Some(decodes.tokens),
            split_keys: decodes.split_keys,
            max_splits: decodes.max_splits,
        };
        paged_decode(device, &input, workspace.decode(), &mut out)?;
    }
    let chunks = batch.chunks()?;
    if !chunks.starts.is_empty() {
        let input = PrefillInput {
            paged: paged(chunks.tables, chunks.kv_lens),
            query_starts: chunks.starts,
            query_lens: chunks.lens,
            longest_query: chunks.longest,
        };
        paged_prefill(device, &input, &mut out)?;
    }
    Ok(())
}

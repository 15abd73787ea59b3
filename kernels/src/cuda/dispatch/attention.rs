//! Attention of a step: one launch for its decodes, one for its chunks.

use half::bf16;

use super::batch::CudaBatch;
use super::ops::head_shape;
use super::workspace::CudaWorkspace;
use crate::cuda::CudaDevice;
use crate::cuda::ops::attention::{DecodeInput, paged_decode};
use crate::cuda::ops::prefill::{PrefillInput, paged_prefill};
use crate::error::KernelError;
use crate::ops::AttentionArguments;
use crate::tensor::TensorViewMut;

/// See [`crate::ops::attention`].
pub(crate) fn attention(
    device: &CudaDevice,
    workspace: &mut CudaWorkspace,
    batch: &CudaBatch,
    arguments: AttentionArguments<'_>,
    mut out: TensorViewMut<'_>,
) -> Result<(), KernelError> {
    let AttentionArguments { qkv, kv, num_heads, scale, window, soft_cap } = arguments;
    let shape = head_shape(num_heads, &kv.layout());
    let qkv = qkv.as_device("qkv")?;
    let k_cache = kv.keys().view().as_device::<bf16>("the KV cache")?;
    let v_cache = kv.values().view().as_device::<bf16>("the KV cache")?;
    // A window beyond 31 bits is none: no cache holds so many tokens of one sequence.
    let window = window.and_then(|window| i32::try_from(window.get()).ok()).map(i32::cast_unsigned);
    let mut out = out.as_device_mut::<bf16>("out")?;
    let decodes = batch.decodes()?;
    if !decodes.tokens.is_empty() {
        let input = DecodeInput {
            qkv,
            k_cache,
            v_cache,
            query_rows: Some(decodes.tokens),
            block_tables: decodes.tables,
            table_stride: batch.table_stride(),
            kv_lens: decodes.kv_lens,
            split_keys: decodes.split_keys,
            max_splits: decodes.max_splits,
            shape,
            window,
            scale,
            softcap: soft_cap,
        };
        paged_decode(device, &input, workspace.decode(), &mut out)?;
    }
    let chunks = batch.chunks()?;
    if !chunks.starts.is_empty() {
        let input = PrefillInput {
            qkv,
            k_cache,
            v_cache,
            query_starts: chunks.starts,
            query_lens: chunks.lens,
            kv_lens: chunks.kv_lens,
            longest_query: chunks.longest,
            block_tables: chunks.tables,
            table_stride: batch.table_stride(),
            shape,
            window,
            scale,
            softcap: soft_cap,
        };
        paged_prefill(device, &input, &mut out)?;
    }
    Ok(())
}

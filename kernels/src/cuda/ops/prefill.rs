//! Attention of chunks of prompts over the paged cache.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::rows::HeadShape;

const OP: &str = "paged_prefill";
const THREADS: usize = 256;
/// Queries, counted over the heads of a group, that one block of threads takes.
const QUERIES_PER_BLOCK: usize = 128;

/// What [`paged_prefill`] reads.
#[derive(Debug, Clone, Copy)]
pub struct PrefillInput<'a> {
    /// `[tokens, qkv_columns]`, rotated.
    pub qkv: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub k_cache: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub v_cache: DeviceSlice<'a, bf16>,
    /// `[seqs]`: the first row of each sequence's queries.
    pub query_starts: DeviceSlice<'a, u32>,
    /// `[seqs]`: how many queries each has; 0 fills up a batch.
    pub query_lens: DeviceSlice<'a, u32>,
    /// `[seqs]`: keys that the last query of each sees.
    pub kv_lens: DeviceSlice<'a, u32>,
    /// At least the longest of `query_lens`.
    pub longest_query: usize,
    /// `[seqs, table_stride]`; entries past the last used block are not read.
    pub block_tables: DeviceSlice<'a, u32>,
    /// Entries from one sequence's table to the next.
    pub table_stride: usize,
    /// Heads and blocks.
    pub shape: HeadShape,
    /// Only so many keys back are seen.
    pub window: Option<u32>,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Scores are bent towards this limit by a tanh.
    pub softcap: Option<f32>,
}

/// Several queries a sequence over its cached history, its own keys included, which are in the cache already.
///
/// # Shapes
///
/// - `out`: `[tokens, heads * head_dim]`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for a head size other than 64, 128, 256.
pub fn paged_prefill(
    device: &CudaDevice,
    input: &PrefillInput<'_>,
    out: &mut DeviceSliceMut<'_, bf16>,
) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, head_dim, block_size } = input.shape;
    let kernel = prefill_kernel(head_dim)?;
    check(input, out.len())?;
    let seqs = input.query_lens.len();
    let queries = input.longest_query * heads / kv_heads;
    let grid =
        Grid::new([queries.div_ceil(QUERIES_PER_BLOCK), kv_heads, seqs], THREADS).with_shared(512 * head_dim);
    let arguments = Arguments::new()
        .input(input.qkv)
        .input(input.k_cache)
        .input(input.v_cache)
        .input(input.query_starts)
        .input(input.query_lens)
        .input(input.kv_lens)
        .input(input.block_tables)
        .output(out)
        .size(input.shape.qkv_columns())
        .size(heads)
        .size(kv_heads)
        .size(block_size)
        .size(input.table_stride)
        .size(input.window.unwrap_or(0) as usize)
        .float(input.scale)
        .float(input.softcap.unwrap_or(0.0));
    // SAFETY: lengths are checked; starts, lengths and tables were made by the host from the batch's rows and checked
    // against the cache's blocks; `out` is a mutable borrow.
    unsafe { device.launch(kernel, grid, arguments) }
}

fn unsupported(what: &'static str, found: usize, supported: &'static str) -> CudaError {
    CudaError::Unsupported { op: OP, what, found: found.to_string(), supported }
}

fn prefill_kernel(head_dim: usize) -> Result<Kernel, CudaError> {
    match head_dim {
        64 => Ok(Kernel::PagedPrefillD64),
        128 => Ok(Kernel::PagedPrefillD128),
        256 => Ok(Kernel::PagedPrefillD256),
        _ => Err(unsupported("head_dim", head_dim, "64, 128 or 256")),
    }
}

/// Refuses lengths that disagree.
fn check(input: &PrefillInput<'_>, out_len: usize) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, head_dim, block_size } = input.shape;
    if !block_size.is_multiple_of(16) || block_size == 0 {
        return Err(unsupported("block_size", block_size, "a multiple of 16"));
    }
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(unsupported("heads", heads, "a multiple of the KV heads"));
    }
    let seqs = input.query_lens.len();
    let tokens = input.qkv.len() / input.shape.qkv_columns();
    expect_equal(OP, "elements of qkv", input.qkv.len(), tokens * input.shape.qkv_columns())?;
    expect_equal(OP, "elements of out", out_len, tokens * heads * head_dim)?;
    expect_equal(OP, "query starts", input.query_starts.len(), seqs)?;
    expect_equal(OP, "lengths of keys", input.kv_lens.len(), seqs)?;
    expect_equal(OP, "elements of block_tables", input.block_tables.len(), seqs * input.table_stride)?;
    expect_equal(OP, "elements of v_cache", input.v_cache.len(), input.k_cache.len())
}

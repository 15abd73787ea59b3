//! Attention of prompt chunks over the paged cache.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::launch::{Arguments, Grid};
use super::cache_element::{CacheElement, HeadForm};
use super::rows::{HeadShape, expect_multiple, expect_whole_cache};

const OP: &str = "paged_prefill";

/// Query rows, of all heads that share a KV head, that one block of threads takes.
const ROWS: usize = 128;

/// What [`paged_prefill`] reads.
#[derive(Debug, Clone, Copy)]
pub struct PrefillInput<'a, T: CacheElement = bf16> {
    /// `[tokens, qkv_columns]`, rotated.
    pub qkv: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub k_cache: DeviceSlice<'a, T>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub v_cache: DeviceSlice<'a, T>,
    /// `[seqs]`: the first row of each sequence's chunk in `qkv` and `out`.
    pub query_starts: DeviceSlice<'a, u32>,
    /// `[seqs]`: rows of the chunk; 0 fills up a batch.
    pub query_lens: DeviceSlice<'a, u32>,
    /// `[seqs]`: keys of each, the chunk's own among them.
    pub kv_lens: DeviceSlice<'a, u32>,
    /// `[seqs, table_stride]`; entries past the last used block are not read.
    pub block_tables: DeviceSlice<'a, u32>,
    /// Entries from one sequence's table to the next; 0 if all share one.
    pub table_stride: usize,
    /// At least the longest of `query_lens`.
    pub longest_query: usize,
    /// Heads and blocks.
    pub shape: HeadShape,
    /// Only so many keys back are seen.
    pub window: Option<u32>,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Scores are bent towards this limit by a tanh.
    pub softcap: Option<f32>,
}

/// Every query of every chunk over the keys up to its own.
///
/// A row's bits depend on its own query and keys alone, however its prompt was cut.
///
/// # Shapes
///
/// - `out`: `[tokens, heads * head_dim]`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for a head size that is not a multiple of 16 up to 256.
pub fn paged_prefill<T: CacheElement>(
    device: &CudaDevice,
    input: &PrefillInput<'_, T>,
    out: &mut DeviceSliceMut<'_, bf16>,
) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, head_dim, block_size } = input.shape;
    let form = HeadForm::of(OP, head_dim)?;
    check(input, out.len())?;
    let rows = input.longest_query * (heads / kv_heads.max(1));
    let grid = Grid::new([rows.div_ceil(ROWS), kv_heads, input.query_lens.len()], 256)
        // Two stages of 64 keys and values in bf16; the widest heads have tiles of 32.
        .with_shared(512 * form.columns.min(128));
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
        .size(head_dim)
        .size(block_size)
        .size(input.table_stride)
        .size(input.window.unwrap_or(0) as usize)
        .float(input.scale)
        .float(input.softcap.unwrap_or(0.0));
    // SAFETY: lengths are checked; starts, lengths and tables were checked by the host against the batch's
    // rows and the cache's blocks; `out` is a mutable borrow.
    unsafe { device.launch(T::KERNELS.prefill[form.kernel_idx], grid, arguments) }
}

/// Refuses lengths that disagree.
fn check<T: CacheElement>(input: &PrefillInput<'_, T>, out_len: usize) -> Result<(), CudaError> {
    let shape = input.shape;
    let HeadShape { heads, kv_heads, head_dim, block_size } = shape;
    expect_multiple(OP, "block_size", block_size, 16, "a multiple of 16")?;
    expect_multiple(OP, "heads", heads, kv_heads.max(1), "a multiple of the KV heads")?;
    let tokens = input.qkv.len() / shape.qkv_columns().max(1);
    expect_equal(OP, "elements of qkv", input.qkv.len(), tokens * shape.qkv_columns())?;
    expect_equal(OP, "elements of out", out_len, tokens * heads * head_dim)?;
    let seqs = input.query_lens.len();
    expect_equal(OP, "query starts", input.query_starts.len(), seqs)?;
    expect_equal(OP, "KV lengths", input.kv_lens.len(), seqs)?;
    if input.table_stride > 0 {
        let expected = seqs * input.table_stride;
        expect_equal(OP, "elements of block_tables", input.block_tables.len(), expected)?;
    }
    expect_whole_cache(OP, shape, input.k_cache.len(), input.v_cache.len())
}

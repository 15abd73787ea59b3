//! Attention of prompt chunks over the paged cache.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::launch::{Arguments, Grid};
use super::cache_element::{CacheElement, HeadForm};
use super::paged::PagedInput;
use super::rows::{HeadShape, expect_multiple};

const OP: &str = "paged_prefill";

/// Query rows, of all heads that share a KV head, that one block of threads takes.
const ROWS: usize = 128;

/// What [`paged_prefill`] reads.
#[derive(Debug, Clone, Copy)]
pub struct PrefillInput<'a, T: CacheElement = bf16> {
    /// Queries and cache.
    pub paged: PagedInput<'a, T>,
    /// `[seqs]`: the first row of each sequence's chunk in `qkv` and `out`.
    pub query_starts: DeviceSlice<'a, u32>,
    /// `[seqs]`: rows of the chunk; 0 fills up a batch.
    pub query_lens: DeviceSlice<'a, u32>,
    /// At least the longest of `query_lens`.
    pub longest_query: usize,
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
    let paged = &input.paged;
    let HeadShape { heads, kv_heads, head_dim, .. } = paged.shape;
    let form = HeadForm::of(OP, head_dim)?;
    check(input, out.len())?;
    let rows = input.longest_query * (heads / kv_heads.max(1));
    let grid = Grid::new([rows.div_ceil(ROWS), kv_heads, paged.num_seqs()], 256)
        // Two stages of 64 keys and values in bf16; the widest heads have tiles of 32.
        .with_shared(512 * form.columns.min(128));
    let arguments = Arguments::new()
        .input(paged.qkv)
        .input(paged.k_cache)
        .input(paged.v_cache)
        .input(input.query_starts)
        .input(input.query_lens)
        .input(paged.kv_lens)
        .input(paged.block_tables)
        .output(out);
    let arguments = paged.append_sizes(arguments);
    // SAFETY: lengths are checked; starts, lengths and tables were checked by the host against the batch's
    // rows and the cache's blocks; `out` is a mutable borrow.
    unsafe { device.launch(T::KERNELS.prefill[form.kernel_idx], grid, arguments) }
}

/// Refuses lengths that disagree.
fn check<T: CacheElement>(input: &PrefillInput<'_, T>, out_len: usize) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, .. } = input.paged.shape;
    expect_multiple(OP, "heads", heads, kv_heads.max(1), "a multiple of the KV heads")?;
    input.paged.check(OP, out_len)?;
    let seqs = input.paged.num_seqs();
    expect_equal(OP, "query starts", input.query_starts.len(), seqs)?;
    expect_equal(OP, "query lengths", input.query_lens.len(), seqs)
}

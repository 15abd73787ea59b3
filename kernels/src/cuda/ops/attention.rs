//! Attention of decode rows over the paged cache.

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::launch::{Arguments, Grid};
use super::cache_element::{CacheElement, HeadForm};
use super::paged::PagedInput;
use super::rows::HeadShape;

/// Query heads of one KV head that one block of threads takes.
const HEADS_PER_GROUP: usize = 16;

/// What a split keeps of a head besides its output: maximum and sum, filled up to whole lines.
const PARTIAL_EXTRA: usize = 8;

/// Keys, with their values, that a block of threads has under way: 4 warps, 3 stages, 16 keys.
const DECODE_STAGED_KEYS: usize = 4 * 3 * 16;

/// A split is a whole number of so many keys.
pub const SPLIT_UNIT_KEYS: usize = 64;

/// What the splits of one step leave for their merge. Made once; used by every layer in turn.
#[derive(Debug)]
pub struct DecodeScratch {
    partial: DeviceBuffer<f32>,
    counters: DeviceBuffer<u32>,
    max_cells: usize,
    max_seqs: usize,
    heads: usize,
    head_dim: usize,
}

fn groups(shape: HeadShape) -> usize {
    shape.heads.div_ceil(shape.kv_heads.max(1)).div_ceil(HEADS_PER_GROUP)
}

impl DecodeScratch {
    /// Room for `max_seqs` sequences in one launch, and for `max_cells` splits of all of them together,
    /// with at most `heads` heads of `head_dim`.
    ///
    /// # Errors
    ///
    /// [`CudaError::ArenaFull`].
    pub fn new(
        device: &CudaDevice,
        [heads, head_dim]: [usize; 2],
        max_seqs: usize,
        max_cells: usize,
    ) -> Result<Self, CudaError> {
        let partial = max_cells * heads * (head_dim + PARTIAL_EXTRA);
        Ok(Self {
            partial: device.alloc("partial results of attention", partial)?,
            // A sequence has a counter for each KV head and group, of which there are at most `heads`.
            counters: device.alloc_zeros("counters of attention", max_seqs * heads)?,
            max_cells,
            max_seqs,
            heads,
            head_dim,
        })
    }

    /// The most sequences of one launch.
    pub fn max_seqs(&self) -> usize {
        self.max_seqs
    }

    /// The most splits of all sequences of one launch.
    pub fn max_cells(&self) -> usize {
        self.max_cells
    }
}

/// What [`paged_decode`] reads.
#[derive(Debug, Clone, Copy)]
pub struct DecodeInput<'a, T: CacheElement = bf16> {
    /// Queries and cache.
    pub paged: PagedInput<'a, T>,
    /// `[seqs]`: the row of each sequence's query; without it, its own index.
    pub query_rows: Option<DeviceSlice<'a, u32>>,
    /// `[1]`: keys of a split, a multiple of [`SPLIT_UNIT_KEYS`].
    pub split_keys: DeviceSlice<'a, u32>,
    /// How many splits are launched: enough for the longest sequence.
    pub max_splits: usize,
}

/// One query a sequence over its whole cached history. Splits beyond a sequence's length return at
/// once, so a recorded step serves all lengths up to `max_splits` splits.
///
/// # Shapes
///
/// - `out`: `[tokens, heads * head_dim]`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for a head size that is not a multiple of 16 up to 256.
pub fn paged_decode<T: CacheElement>(
    device: &CudaDevice,
    input: &DecodeInput<'_, T>,
    scratch: &mut DecodeScratch,
    out: &mut DeviceSliceMut<'_, bf16>,
) -> Result<(), CudaError> {
    let paged = &input.paged;
    let shape = paged.shape;
    let form = HeadForm::of(OP, shape.head_dim)?;
    let shared_bytes = DECODE_STAGED_KEYS * 2 * form.columns * size_of::<T>();
    check_decode(input, scratch, out.len())?;
    let blocks = [shape.kv_heads * groups(shape), paged.num_seqs(), input.max_splits];
    let grid = Grid::new(blocks, 128).with_shared(shared_bytes);
    let arguments = Arguments::new()
        .input(paged.qkv)
        .input(paged.k_cache)
        .input(paged.v_cache)
        .optional_input(input.query_rows)
        .input(paged.block_tables)
        .input(paged.kv_lens)
        .input(input.split_keys)
        .output(&scratch.partial.as_mut_slice())
        .output(&scratch.counters.as_mut_slice())
        .output(out);
    let arguments = paged.append_sizes(arguments);
    // SAFETY: lengths are checked; the scratch has room for these heads and splits, its counters are
    // zeroed at start and left so by every launch; tables and lengths were checked by the host against the
    // cache's blocks and the splits; outputs are mutable borrows.
    unsafe { device.launch(T::KERNELS.decode[form.kernel_idx], grid, arguments) }
}

const OP: &str = "paged_decode";

fn unsupported(what: &'static str, found: usize, supported: &'static str) -> CudaError {
    CudaError::Unsupported { op: OP, what, found: found.to_string(), supported }
}

/// Refuses lengths that disagree, and more than the scratch was made for.
fn check_decode<T: CacheElement>(
    input: &DecodeInput<'_, T>,
    scratch: &DecodeScratch,
    out_len: usize,
) -> Result<(), CudaError> {
    let HeadShape { heads, head_dim, .. } = input.paged.shape;
    let tokens = input.paged.check(OP, out_len)?;
    if heads > scratch.heads || head_dim > scratch.head_dim {
        return Err(unsupported("heads", heads, "what the scratch was made for"));
    }
    let seqs = input.paged.num_seqs();
    if seqs > scratch.max_seqs {
        return Err(CudaError::Shape { op: OP, what: "sequences", found: seqs, expected: scratch.max_seqs });
    }
    match input.query_rows {
        Some(rows) => expect_equal(OP, "query rows", rows.len(), seqs)?,
        None if seqs > tokens => expect_equal(OP, "sequences without query rows", seqs, tokens)?,
        None => {}
    }
    expect_equal(OP, "elements of split_keys", input.split_keys.len(), 1)?;
    let cells = seqs * input.max_splits;
    if cells > scratch.max_cells {
        return Err(unsupported("sequences times splits", cells, "what the scratch was made for"));
    }
    Ok(())
}

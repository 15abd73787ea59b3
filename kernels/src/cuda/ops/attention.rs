//! Attention of decode rows over the paged cache.

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::rows::HeadShape;

/// Query heads of one KV head that one block of threads takes.
const HEADS_PER_GROUP: usize = 16;

/// What a split keeps of a head besides its output: maximum and sum, filled up to whole lines.
const PARTIAL_EXTRA: usize = 8;

/// A split is a whole number of so many keys.
pub const SPLIT_UNIT_KEYS: usize = 64;

/// What the splits of one step leave for their merge. Made once; used by every layer in turn.
#[derive(Debug)]
pub struct DecodeScratch {
    partial: DeviceBuffer<f32>,
    counters: DeviceBuffer<u32>,
    max_seqs: usize,
    max_splits: usize,
    shape: HeadShape,
}

fn groups(shape: HeadShape) -> usize {
    shape.heads.div_ceil(shape.kv_heads.max(1)).div_ceil(HEADS_PER_GROUP)
}

impl DecodeScratch {
    /// Room for `max_seqs` sequences of at most `max_splits` splits.
    ///
    /// # Errors
    ///
    /// [`CudaError::ArenaFull`].
    pub fn new(
        device: &CudaDevice,
        shape: HeadShape,
        max_seqs: usize,
        max_splits: usize,
    ) -> Result<Self, CudaError> {
        let cells = max_seqs * shape.kv_heads * groups(shape);
        let partial = max_seqs * shape.heads * max_splits * (shape.head_dim + PARTIAL_EXTRA);
        Ok(Self {
            partial: device.alloc("partial results of attention", partial)?,
            counters: device.alloc_zeros("counters of attention", cells)?,
            max_seqs,
            max_splits,
            shape,
        })
    }

    /// The most splits a sequence may have.
    pub fn max_splits(&self) -> usize {
        self.max_splits
    }
}

/// What [`paged_decode`] reads.
#[derive(Debug, Clone, Copy)]
pub struct DecodeInput<'a> {
    /// `[tokens, qkv_columns]`, rotated.
    pub qkv: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub k_cache: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub v_cache: DeviceSlice<'a, bf16>,
    /// `[seqs]`: the row of each sequence's query; without it, its own index.
    pub query_rows: Option<DeviceSlice<'a, u32>>,
    /// `[seqs, table_stride]`; entries past the last used block are not read.
    pub block_tables: DeviceSlice<'a, u32>,
    /// `[seqs]`: keys of each, its query's own among them; 0 fills up a batch.
    pub kv_lens: DeviceSlice<'a, u32>,
    /// `[1]`: keys of a split, a multiple of [`SPLIT_UNIT_KEYS`].
    pub split_keys: DeviceSlice<'a, u32>,
    /// Only so many keys back are seen.
    pub window: Option<u32>,
    /// Scores are multiplied by it.
    pub scale: f32,
    /// Scores are bent towards this limit by a tanh.
    pub softcap: Option<f32>,
}

/// One query a sequence over its whole cached history. How many splits are launched is the scratch's
/// maximum; those beyond a sequence's length return at once, so a recorded step serves all lengths.
///
/// # Shapes
///
/// - `out`: `[tokens, heads * head_dim]`
///
/// # Errors
///
/// [`CudaError::Shape`]; [`CudaError::Unsupported`] for a head size other than 64, 128, 256.
pub fn paged_decode(
    device: &CudaDevice,
    input: &DecodeInput<'_>,
    scratch: &mut DecodeScratch,
    out: &mut DeviceSliceMut<'_, bf16>,
) -> Result<(), CudaError> {
    const OP: &str = "paged_decode";
    let shape = scratch.shape;
    let HeadShape { heads, kv_heads, head_dim, block_size } = shape;
    let unsupported =
        |what, found: usize, supported| CudaError::Unsupported { op: OP, what, found: found.to_string(), supported };
    let (kernel, shared_bytes) = match head_dim {
        64 => (Kernel::PagedDecodeD64, 49_152),
        128 => (Kernel::PagedDecodeD128, 98_304),
        256 => (Kernel::PagedDecodeD256, 196_608),
        _ => return Err(unsupported("head_dim", head_dim, "64, 128 or 256")),
    };
    if !block_size.is_multiple_of(16) || block_size == 0 {
        return Err(unsupported("block_size", block_size, "a multiple of 16"));
    }
    let seqs = input.kv_lens.len();
    if seqs > scratch.max_seqs {
        return Err(CudaError::Shape {
            op: OP,
            what: "sequences",
            found: seqs,
            expected: scratch.max_seqs,
        });
    }
    let tokens = input.qkv.len() / shape.qkv_columns().max(1);
    expect_equal(OP, "elements of qkv", input.qkv.len(), tokens * shape.qkv_columns())?;
    expect_equal(OP, "elements of out", out.len(), tokens * heads * head_dim)?;
    match input.query_rows {
        Some(rows) => expect_equal(OP, "query rows", rows.len(), seqs)?,
        None if seqs > tokens => expect_equal(OP, "sequences without query rows", seqs, tokens)?,
        None => {}
    }
    expect_equal(OP, "elements of split_keys", input.split_keys.len(), 1)?;
    expect_equal(OP, "elements of v_cache", input.v_cache.len(), input.k_cache.len())?;
    let table_stride = input.block_tables.len() / seqs.max(1);
    expect_equal(OP, "elements of block_tables", input.block_tables.len(), seqs * table_stride)?;
    let grid = Grid::new([kv_heads * groups(shape), seqs, scratch.max_splits], 128)
        .with_shared(shared_bytes);
    let arguments = Arguments::new()
        .input(input.qkv)
        .input(input.k_cache)
        .input(input.v_cache)
        .optional_input(input.query_rows)
        .input(input.block_tables)
        .input(input.kv_lens)
        .input(input.split_keys)
        .output(&scratch.partial.as_mut_slice())
        .output(&scratch.counters.as_mut_slice())
        .output(out)
        .size(shape.qkv_columns())
        .size(heads)
        .size(kv_heads)
        .size(block_size)
        .size(table_stride)
        .size(input.window.unwrap_or(0) as usize)
        .float(input.scale)
        .float(input.softcap.unwrap_or(0.0));
    // SAFETY: lengths are checked; the scratch was made for this shape and so many splits, is zeroed at
    // start and left so by every launch; tables and lengths were checked by the host against the
    // cache's blocks and the splits; outputs are mutable borrows.
    unsafe { device.launch(kernel, grid, arguments) }
}

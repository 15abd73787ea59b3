//! What attention over the paged cache reads, whether of single queries or of chunks.

use half::bf16;

use super::super::buffer::DeviceSlice;
use super::super::error::{CudaError, expect_equal};
use super::super::launch::Arguments;
use super::cache_element::CacheElement;
use super::rows::{HeadShape, expect_whole_cache};

/// Queries, the cache, and who looks where.
#[derive(Debug, Clone, Copy)]
pub struct PagedInput<'a, T: CacheElement = bf16> {
    /// `[tokens, qkv_columns]`, rotated.
    pub qkv: DeviceSlice<'a, bf16>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub k_cache: DeviceSlice<'a, T>,
    /// `[blocks, kv_heads, block_size, head_dim]`
    pub v_cache: DeviceSlice<'a, T>,
    /// `[seqs, table_stride]`; entries past the last used block are not read.
    pub block_tables: DeviceSlice<'a, u32>,
    /// Entries from one sequence's table to the next; 0 if all share one.
    pub table_stride: usize,
    /// `[seqs]`: keys of each, those of its queries among them; 0 fills up a batch.
    pub kv_lens: DeviceSlice<'a, u32>,
    /// Heads and blocks.
    pub shape: HeadShape,
    /// Only so many keys back are seen.
    pub window: Option<u32>,
    /// Scores are multiplied by it; above 0.
    pub scale: f32,
    /// Scores are bent towards this limit by a tanh.
    pub softcap: Option<f32>,
}

impl<T: CacheElement> PagedInput<'_, T> {
    /// How many sequences there are.
    pub(super) fn num_seqs(&self) -> usize {
        self.kv_lens.len()
    }

    /// Refuses lengths that disagree; answers with the number of tokens.
    pub(super) fn check(&self, op: &'static str, out_len: usize) -> Result<usize, CudaError> {
        let HeadShape { heads, head_dim, block_size, .. } = self.shape;
        if !block_size.is_multiple_of(16) || block_size == 0 {
            let (what, found) = ("block_size", block_size.to_string());
            return Err(CudaError::Unsupported { op, what, found, supported: "a multiple of 16" });
        }
        if self.scale <= 0.0 || !self.scale.is_finite() {
            let (what, found) = ("scale", self.scale.to_string());
            return Err(CudaError::Unsupported { op, what, found, supported: "a finite number above 0" });
        }
        let columns = self.shape.qkv_columns();
        let tokens = self.qkv.len() / columns.max(1);
        expect_equal(op, "elements of qkv", self.qkv.len(), tokens * columns)?;
        expect_equal(op, "elements of out", out_len, tokens * heads * head_dim)?;
        expect_whole_cache(op, self.shape, self.k_cache.len(), self.v_cache.len())?;
        if self.table_stride > 0 {
            let expected = self.num_seqs() * self.table_stride;
            expect_equal(op, "elements of block_tables", self.block_tables.len(), expected)?;
        }
        Ok(tokens)
    }

    /// The parameters with which every kernel of attention ends.
    pub(super) fn append_sizes(&self, arguments: Arguments) -> Arguments {
        arguments
            .size(self.shape.qkv_columns())
            .size(self.shape.heads)
            .size(self.shape.kv_heads)
            .size(self.shape.head_dim)
            .size(self.shape.block_size)
            .size(self.table_stride)
            .size(self.window.unwrap_or(0) as usize)
            .float(self.scale)
            .float(self.softcap.unwrap_or(0.0))
    }
}

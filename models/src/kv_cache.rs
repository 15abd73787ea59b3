//! The paged KV cache of a whole model: one block holds its tokens' keys and values in all layers.
//!
//! Blocks are never cleared: a block's content is read only for positions that its present owner has written.
//!
//! In a request's path: the decoder writes and reads it through block tables; who owns a block is the scheduler's matter.

use spillway_kernels::{DType, Device, KvLayout as LayerLayout, PagedKv};
use spillway_types::BlockSize;

use crate::error::ModelError;

/// What a model keeps for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Layers with a cache; none for an executor that keeps its own.
    pub num_layers: usize,
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Type of the stored numbers.
    pub dtype: DType,
}

/// Keys and values of every layer, in blocks.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<PagedKv>,
    block_size: BlockSize,
    num_blocks: u32,
    bytes: u64,
}

impl KvLayout {
    /// Bytes that one block takes, in all layers together.
    pub fn bytes_per_block(&self, block_size: BlockSize) -> u64 {
        self.of_one_layer(block_size, 1).block_bytes() as u64 * self.num_layers as u64
    }

    /// Blocks that fit a budget of memory; as many as can be named if a block takes no memory.
    pub fn blocks_in(&self, block_size: BlockSize, budget_bytes: u64) -> u32 {
        match budget_bytes.checked_div(self.bytes_per_block(block_size)) {
            Some(blocks) => u32::try_from(blocks).unwrap_or(u32::MAX),
            None => u32::MAX,
        }
    }

    fn of_one_layer(&self, block_size: BlockSize, num_blocks: u32) -> LayerLayout {
        LayerLayout {
            num_blocks: num_blocks as usize,
            num_kv_heads: self.num_kv_heads,
            block_size: block_size.tokens() as usize,
            head_dim: self.head_dim,
            dtype: self.dtype,
        }
    }
}

impl KvCache {
    /// Takes memory for `num_blocks` blocks on `device`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Kernel`] if the device has no room, or cannot serve heads of this size.
    pub fn new(
        device: &Device,
        layout: &KvLayout,
        block_size: BlockSize,
        num_blocks: u32,
    ) -> Result<Self, ModelError> {
        let layers = (0..layout.num_layers)
            .map(|_| PagedKv::new(device, layout.of_one_layer(block_size, num_blocks)))
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = layout.bytes_per_block(block_size) * u64::from(num_blocks);
        Ok(Self { layers, block_size, num_blocks, bytes })
    }

    /// Tokens one block holds.
    pub fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// How many blocks there are.
    pub fn num_blocks(&self) -> u32 {
        self.num_blocks
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The cache of each layer.
    pub(crate) fn layers_mut(&mut self) -> &mut [PagedKv] {
        &mut self.layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_over_all_layers_and_blocks_in_a_budget() {
        let layout = KvLayout { num_layers: 30, num_kv_heads: 3, head_dim: 64, dtype: DType::F16 };
        let block_size = BlockSize::try_from(16).expect("16 is a block size");
        let per_block = 2 * 30 * 3 * 64 * 16 * 2;
        assert_eq!(layout.bytes_per_block(block_size), per_block);
        assert_eq!(layout.blocks_in(block_size, 10 * per_block + per_block - 1), 10);
        assert_eq!(layout.blocks_in(block_size, 0), 0);
        assert_eq!(KvLayout { num_layers: 0, ..layout }.blocks_in(block_size, 5), u32::MAX);
    }
}

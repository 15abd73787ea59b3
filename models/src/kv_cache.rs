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

/// What the cache is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvCacheType {
    /// What weights are computed with, or what the device prefers where it does not hold that.
    Auto,
    /// bf16.
    Bf16,
    /// Floats of eight bits (e4m3) without a scale: half the memory of bf16, on a GPU.
    Fp8,
}

impl KvCacheType {
    /// The type of the cache, given that of most weights and those that the device's cache may have.
    pub(crate) fn choose(self, like_weights: DType, of_device: &[DType]) -> Result<DType, ModelError> {
        let asked = match self {
            Self::Auto if of_device.contains(&like_weights) => return Ok(like_weights),
            Self::Auto => return Ok(of_device.first().copied().unwrap_or(like_weights)),
            Self::Bf16 => DType::BF16,
            Self::Fp8 => DType::E4M3,
        };
        if of_device.contains(&asked) {
            return Ok(asked);
        }
        let names: Vec<String> = of_device.iter().map(ToString::to_string).collect();
        Err(ModelError::KvCacheType { asked, supported: names.join(", ") })
    }
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

    /// Bytes that one token takes, in all layers together.
    pub fn bytes_per_token(&self) -> u64 {
        2 * (self.num_layers * self.num_kv_heads * self.head_dim * self.dtype.size_bytes()) as u64
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
    use spillway_kernels::kv::{CPU_DTYPES, GPU_DTYPES};

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
        let fp8 = KvLayout { dtype: DType::E4M3, ..layout };
        assert_eq!(fp8.blocks_in(block_size, 10 * per_block), 20, "half the bytes, twice the blocks");
    }

    #[test]
    fn the_type_is_that_of_the_weights_or_what_the_device_prefers_unless_one_is_asked_for() {
        let choose = |asked: KvCacheType, like_weights, of_device| {
            asked.choose(like_weights, of_device).map_err(|error| error.to_string())
        };
        let (auto, fp8) = (KvCacheType::Auto, KvCacheType::Fp8);
        assert_eq!(choose(auto, DType::F16, CPU_DTYPES), Ok(DType::F16));
        assert_eq!(choose(auto, DType::F16, GPU_DTYPES), Ok(DType::BF16));
        assert_eq!(choose(KvCacheType::Bf16, DType::F32, CPU_DTYPES), Ok(DType::BF16));
        assert_eq!(choose(fp8, DType::F16, GPU_DTYPES), Ok(DType::E4M3));
        let refused = choose(fp8, DType::F16, CPU_DTYPES).expect_err("a CPU has no such cache");
        assert_eq!(
            refused,
            "a KV cache of fp8_e4m3 is for GPUs, here it holds f32, f16, bf16: leave --kv-cache-dtype at auto"
        );
    }
}

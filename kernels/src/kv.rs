//! The paged KV cache of one layer: keys and values in blocks.
//!
//! Which block belongs to whom is the scheduler's business; ops only follow block tables.

use crate::device::Device;
use crate::error::{KernelError, expect_at_most};
use crate::tensor::{DType, Tensor};

/// The widest attention head that the ops take.
pub const MAX_HEAD_DIM: usize = 256;

/// What the cache may hold on the processor.
pub const CPU_DTYPES: &[DType] = &[DType::F32, DType::F16, DType::BF16];
/// What the cache may hold on a GPU, where the first is for want of a choice.
pub const GPU_DTYPES: &[DType] = &[DType::BF16, DType::E4M3];

/// Shape and type of one layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// How many blocks there are.
    pub num_blocks: usize,
    /// How many heads keys and values have.
    pub num_kv_heads: usize,
    /// Tokens one block holds.
    pub block_size: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Type of the stored keys and values.
    pub dtype: DType,
}

impl KvLayout {
    /// Bytes of keys and values that one block takes in one layer.
    pub fn block_bytes(&self) -> usize {
        2 * self.num_kv_heads * self.block_size * self.head_dim * self.dtype.size_bytes()
    }

    /// Refuses a layout that no op could serve.
    fn check(&self) -> Result<(), KernelError> {
        for (name, value) in [
            ("num_kv_heads", self.num_kv_heads),
            ("block_size", self.block_size),
            ("head_dim", self.head_dim),
        ] {
            if value == 0 {
                return Err(KernelError::Invalid { name, value, rule: "be at least 1" });
            }
        }
        if !self.head_dim.is_multiple_of(16) {
            return Err(KernelError::Invalid {
                name: "head_dim",
                value: self.head_dim,
                rule: "be a multiple of 16",
            });
        }
        expect_at_most("head_dim", self.head_dim, MAX_HEAD_DIM)?;
        expect_at_most("slots", self.num_blocks.saturating_mul(self.block_size), u32::MAX as usize)
    }

    /// The error for a type that the processor's ops do not take.
    pub(crate) fn not_on_cpu(&self) -> KernelError {
        KernelError::ElementType { name: "KV cache on the CPU", actual: self.dtype, expected: DType::F32 }
    }

    /// Refuses what the GPU's kernels do not take.
    #[cfg(feature = "cuda")]
    fn check_for_gpu(&self) -> Result<(), KernelError> {
        if !GPU_DTYPES.contains(&self.dtype) {
            let (name, actual, expected) = ("KV cache on a GPU", self.dtype, DType::BF16);
            return Err(KernelError::ElementType { name, actual, expected });
        }
        if !self.block_size.is_multiple_of(16) {
            let (name, rule) = ("block_size", "be a multiple of 16 on a GPU");
            return Err(KernelError::Invalid { name, value: self.block_size, rule });
        }
        Ok(())
    }
}

/// Keys and values of one layer: each `[blocks, kv_heads, block_size, head_dim]`.
#[derive(Debug)]
pub struct PagedKv {
    layout: KvLayout,
    keys: Tensor,
    values: Tensor,
}

impl PagedKv {
    /// An empty cache.
    ///
    /// # Errors
    ///
    /// [`KernelError::Invalid`] or [`KernelError::OverLimit`] for a layout that ops cannot serve,
    /// [`KernelError::OutOfMemory`] if the device has no room.
    pub fn new(device: &Device, layout: KvLayout) -> Result<Self, KernelError> {
        layout.check()?;
        match device {
            Device::Cpu(_) if !CPU_DTYPES.contains(&layout.dtype) => return Err(layout.not_on_cpu()),
            Device::Cpu(_) => {}
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => layout.check_for_gpu()?,
        }
        let rows = layout.num_blocks * layout.num_kv_heads * layout.block_size;
        let shape = [rows, layout.head_dim];
        Ok(Self {
            layout,
            keys: Tensor::zeros(device, layout.dtype, shape)?,
            values: Tensor::zeros(device, layout.dtype, shape)?,
        })
    }

    /// Its shape and type.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// The keys: `[blocks * kv_heads * block_size, head_dim]`.
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// The values: `[blocks * kv_heads * block_size, head_dim]`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Where the keys lie on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn device_address(&self) -> Option<u64> {
        self.keys.view().device_address()
    }

    /// Keys and values, for writing.
    pub(crate) fn parts_mut(&mut self) -> (&mut Tensor, &mut Tensor) {
        (&mut self.keys, &mut self.values)
    }
}

//! Scratch memory of the CPU's ops.

use crate::device::WorkspaceLimits;
use crate::error::{KernelError, expect_at_most};
use crate::kv::MAX_HEAD_DIM;
use crate::tensor::buffer::HostBuffer;
use crate::weight::QUANT_BLOCK;

use super::{CpuDevice, attention};

/// Groups of 16 in a block of 32.
const MAX_GROUPS_PER_BLOCK: usize = 2;

/// Converted activations of a product, and each thread's room for attention.
#[derive(Debug)]
pub struct CpuWorkspace {
    limits: WorkspaceLimits,
    /// Activations as i8 or bf16: `[max_tokens, row_bytes]`.
    pub(super) numbers: HostBuffer,
    /// A scale for each row and block: `[max_tokens, max_columns / 32]`.
    pub(super) scales: HostBuffer,
    /// What a group's zero point or minimum is multiplied with: `[max_tokens, max_columns / 16]`.
    pub(super) offsets: HostBuffer,
    /// f32, `[threads, attention::scratch_len]`.
    pub(super) attention: HostBuffer,
    num_threads: usize,
}

impl CpuWorkspace {
    /// Room for steps up to `limits`.
    pub(crate) fn new(cpu: &CpuDevice, limits: WorkspaceLimits) -> Result<Self, KernelError> {
        expect_at_most("head_dim", limits.head_dim, MAX_HEAD_DIM)?;
        let row_bytes = limits.max_columns.saturating_mul(2).next_multiple_of(64);
        let blocks = limits.max_tokens.saturating_mul(limits.max_columns.div_ceil(QUANT_BLOCK));
        let num_threads = cpu.num_threads();
        let attention_bytes = attention::scratch_len(limits.head_dim) * 4 * num_threads;
        Ok(Self {
            limits,
            numbers: HostBuffer::zeroed(limits.max_tokens.saturating_mul(row_bytes))?,
            scales: HostBuffer::zeroed(blocks.saturating_mul(4))?,
            offsets: HostBuffer::zeroed(blocks.saturating_mul(4 * MAX_GROUPS_PER_BLOCK))?,
            attention: HostBuffer::zeroed(attention_bytes)?,
            num_threads,
        })
    }

    /// Refuses a product larger than the room.
    pub(super) fn expect_fits(&self, rows: usize, columns: usize) -> Result<(), KernelError> {
        expect_at_most("rows of `x`", rows, self.limits.max_tokens)?;
        expect_at_most("columns of `x`", columns, self.limits.max_columns)
    }

    /// Refuses a head wider than the room, or a device with more threads.
    pub(crate) fn expect_fits_heads(&self, head_dim: usize, cpu: &CpuDevice) -> Result<(), KernelError> {
        expect_at_most("head_dim", head_dim, self.limits.head_dim)?;
        expect_at_most("threads", cpu.num_threads(), self.num_threads)
    }
}

//! Scratch memory of the ops on this device.

use super::batch::max_cells;
use crate::cuda::ops::attention::DecodeScratch;
use crate::cuda::{CudaDevice, CudaError};
use crate::device::WorkspaceLimits;

/// Scratch memory, made once.
#[derive(Debug)]
pub struct CudaWorkspace {
    decode: DecodeScratch,
}

impl CudaWorkspace {
    /// Room for steps up to `limits`.
    pub(crate) fn new(device: &CudaDevice, limits: WorkspaceLimits) -> Result<Self, CudaError> {
        // The widest input of a product is at least as wide as all query heads together.
        let heads = limits.max_columns.div_ceil(limits.head_dim.max(1));
        let rows = limits.max_rows.max(1);
        Ok(Self { decode: DecodeScratch::new(device, [heads, limits.head_dim], rows, max_cells(rows))? })
    }

    /// For attention.
    pub(crate) fn decode(&mut self) -> &mut DecodeScratch {
        &mut self.decode
    }
}

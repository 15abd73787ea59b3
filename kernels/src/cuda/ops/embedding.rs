//! Rows of an embedding table, which stays on the device as its file stores it.

use half::bf16;

use super::super::buffer::{DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use crate::weight::WeightType;

const OP: &str = "embed";

/// An embedding table `[vocab, hidden]` in a file's own bytes, row after row.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingTable<'a> {
    weight_type: WeightType,
    bytes: DeviceSlice<'a, u8>,
    vocab: usize,
    hidden: usize,
}

impl<'a> EmbeddingTable<'a> {
    /// Names the bytes as a table.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] if `hidden` is no whole number of blocks, or of bf16 no multiple of 8;
    /// [`CudaError::Shape`] if the bytes are not as many as the shape calls for.
    pub fn new(
        weight_type: WeightType,
        [vocab, hidden]: [usize; 2],
        bytes: DeviceSlice<'a, u8>,
    ) -> Result<Self, CudaError> {
        let unsupported = |supported| CudaError::Unsupported {
            op: OP,
            what: "hidden",
            found: hidden.to_string(),
            supported,
        };
        let row_bytes = weight_type.row_bytes(hidden).ok_or(unsupported("whole blocks"))?;
        if weight_type == WeightType::BF16 && !hidden.is_multiple_of(8) {
            return Err(unsupported("a multiple of 8"));
        }
        expect_equal(OP, "bytes of the table", bytes.len(), vocab * row_bytes)?;
        Ok(Self { weight_type, bytes, vocab, hidden })
    }

    /// A table of bf16 numbers.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn bf16(shape: [usize; 2], table: DeviceSlice<'a, bf16>) -> Result<Self, CudaError> {
        let found = table.len();
        let expected = shape[0] * shape[1];
        let bytes = table.cast().ok_or(CudaError::Shape { op: OP, what: "table", found, expected })?;
        Self::new(WeightType::BF16, shape, bytes)
    }

    /// `[vocab, hidden]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.vocab, self.hidden]
    }
}

/// `residual[t] = table[tokens[t]]`, times `scale` if there is one.
///
/// # Shapes
///
/// - `tokens`: `[tokens]`, each below the table's `vocab`
/// - `residual`: `[tokens, hidden]`
///
/// # Errors
///
/// [`CudaError::Shape`].
pub fn embed(
    device: &CudaDevice,
    tokens: DeviceSlice<'_, u32>,
    table: EmbeddingTable<'_>,
    scale: Option<f32>,
    residual: &mut DeviceSliceMut<'_, f32>,
) -> Result<(), CudaError> {
    let hidden = table.hidden;
    expect_equal(OP, "elements of residual", residual.len(), tokens.len() * hidden)?;
    let arguments = Arguments::new()
        .input(tokens)
        .input(table.bytes)
        .output(residual)
        .size(hidden)
        // A product with 1 changes no bit.
        .float(scale.unwrap_or(1.0));
    let grid = Grid::new([tokens.len(), 1, 1], 256);
    // SAFETY: lengths are checked, the table's when it was named; token ids were checked against the
    // vocabulary by the host; buffers begin where every type is aligned.
    unsafe { device.launch(kernel(table.weight_type), grid, arguments) }
}

fn kernel(weight_type: WeightType) -> Kernel {
    match weight_type {
        WeightType::F32 => Kernel::EmbedF32,
        WeightType::F16 => Kernel::EmbedF16,
        WeightType::BF16 => Kernel::Embed,
        WeightType::Q4_0 => Kernel::EmbedQ40,
        WeightType::Q4_1 => Kernel::EmbedQ41,
        WeightType::Q5_0 => Kernel::EmbedQ50,
        WeightType::Q5_1 => Kernel::EmbedQ51,
        WeightType::Q8_0 => Kernel::EmbedQ80,
        WeightType::Q2K => Kernel::EmbedQ2K,
        WeightType::Q3K => Kernel::EmbedQ3K,
        WeightType::Q4K => Kernel::EmbedQ4K,
        WeightType::Q5K => Kernel::EmbedQ5K,
        WeightType::Q6K => Kernel::EmbedQ6K,
    }
}

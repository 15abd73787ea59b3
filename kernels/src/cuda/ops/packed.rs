//! Quantised weights on the device, and how they come about.
//!
//! A weight is two or three planes in the order in which the tensor cores read them (`quantised.cuh`):
//! codes, scales, and minima where the format has them. They are made on the device, from the blocks of a
//! file or from float weights.

use std::ops::Range;

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::format::{QuantisedFormat, TILE};
use super::rows::expect_multiple;
use crate::weight::{WeightSource, WeightType};

const OP: &str = "pack";
const WHAT: &str = "a quantised weight";

/// A file's weights are copied up in pieces of about so many bytes.
const PIECE_BYTES: usize = 32 << 20;

/// How the rows of a weight stand in its tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// One after the other.
    Plain,
    /// Eight rows of the first half, then the eight of the second half that they are multiplied with: for
    /// products that gate, and for no others.
    Gated,
}

/// A quantised weight `[n, k]`.
#[derive(Debug)]
pub struct QuantisedWeight {
    format: QuantisedFormat,
    shape: [usize; 2],
    order: RowOrder,
    codes: DeviceBuffer<u8>,
    scales: DeviceBuffer<u8>,
    minima: Option<DeviceBuffer<u8>>,
}

impl QuantisedWeight {
    /// Packs a file's blocks, row after row.
    ///
    /// While it runs it needs room in the arena for the blocks, of plain rows at most about 32 MiB.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] for a type without a format ([`QuantisedFormat::of_blocks`]), for columns
    /// that are no whole blocks, and for a gated weight whose rows are no multiple of 16;
    /// [`CudaError::Shape`] if the bytes are not those of the shape; [`CudaError::ArenaFull`].
    pub fn pack(
        device: &CudaDevice,
        weight_type: WeightType,
        shape: [usize; 2],
        order: RowOrder,
        blocks: &[u8],
    ) -> Result<Self, CudaError> {
        let Some(format) = QuantisedFormat::of_blocks(weight_type) else {
            let (what, found) = ("type of the weight", weight_type.to_string());
            let supported = "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K";
            return Err(CudaError::Unsupported { op: OP, what, found, supported });
        };
        Self::pack_as(device, (weight_type, format), shape, order, blocks)
    }

    /// As [`pack`](Self::pack), into a given format of the type: `Q4_0` and `Q4_1` can be kept in groups of 128, too,
    /// where each four blocks from the first of a row on have the same scale and minimum.
    ///
    /// # Errors
    ///
    /// As [`pack`](Self::pack); [`CudaError::Unsupported`] for a format that the type cannot be kept in.
    pub fn pack_as(
        device: &CudaDevice,
        (weight_type, format): (WeightType, QuantisedFormat),
        shape: [usize; 2],
        order: RowOrder,
        blocks: &[u8],
    ) -> Result<Self, CudaError> {
        let [n, k] = shape;
        let Some(kernel) = pack_kernel(weight_type, format) else {
            let (what, found) = ("format of the type", format!("{format:?} of {weight_type}"));
            return Err(CudaError::Unsupported { op: OP, what, found, supported: "that of its blocks" });
        };
        expect_multiple(OP, "columns", k, weight_type.block_len(), "whole blocks")?;
        let row_bytes = k / weight_type.block_len() * weight_type.block_bytes();
        expect_equal(OP, "bytes of the blocks", blocks.len(), n * row_bytes)?;
        let mut weight = Self::empty(device, format, shape, order)?;
        weight.pack_rows(device, kernel, blocks, 0..n)?;
        Ok(weight)
    }

    /// Copies up and packs `rows`, of which the first begins a tile: all of a gated weight.
    fn pack_rows(
        &mut self,
        device: &CudaDevice,
        kernel: Kernel,
        bytes: &[u8],
        rows: Range<usize>,
    ) -> Result<(), CudaError> {
        let row_bytes = bytes.len() / rows.len().max(1);
        let piece_rows = match self.order {
            RowOrder::Plain => {
                (PIECE_BYTES / row_bytes.max(1)).next_multiple_of(TILE[0]).min(rows.len()).max(1)
            }
            RowOrder::Gated => rows.len().max(1),
        };
        let mut staging: DeviceBuffer<u8> = device.alloc("rows of a weight", piece_rows * row_bytes)?;
        for first_row in rows.clone().step_by(piece_rows) {
            let num_rows = piece_rows.min(rows.end - first_row);
            let piece = &bytes[(first_row - rows.start) * row_bytes..][..num_rows * row_bytes];
            device.upload(piece, &mut staging.as_mut_slice().slice(0..piece.len()))?;
            let source = staging.as_slice().slice(0..piece.len());
            self.launch_pack(device, kernel, source, first_row, num_rows)?;
        }
        Ok(())
    }

    /// Quantises the float weights of a file, symmetrically, one below the other: to 4 bits with a scale for each 128
    /// columns, or to 8 bits or fp8 with a scale for each row.
    ///
    /// While it runs it needs about 32 MiB of the arena.
    ///
    /// # Errors
    ///
    /// As [`quantise`](Self::quantise); [`CudaError::Unsupported`] for a source that is no float, and if all but the
    /// last have not a multiple of 16 rows.
    pub fn quantise_sources(
        device: &CudaDevice,
        format: QuantisedFormat,
        sources: &[WeightSource<'_>],
    ) -> Result<Self, CudaError> {
        let k = sources.first().map_or(0, |source| source.shape()[1]);
        expect_multiple(OP, "columns", k, 32, "a multiple of 32")?;
        let n = sources.iter().map(|source| source.shape()[0]).sum();
        let mut weight = Self::empty(device, format, [n, k], RowOrder::Plain)?;
        let mut first_row = 0;
        for source in sources {
            let [num_rows, columns] = source.shape();
            expect_equal(OP, "columns of a source", columns, k)?;
            expect_multiple(OP, "rows before a source", first_row, TILE[0], "a multiple of 16")?;
            let kernel = quantise_kernel(format, source.weight_type())?;
            weight.pack_rows(device, kernel, source.bytes(), first_row..first_row + num_rows)?;
            first_row += num_rows;
        }
        Ok(weight)
    }

    /// Quantises a bf16 weight that is on the device.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] for a format that nothing is quantised to, and for columns that are no multiple of
    /// 32; [`CudaError::Shape`], [`CudaError::ArenaFull`].
    pub fn quantise(
        device: &CudaDevice,
        format: QuantisedFormat,
        shape: [usize; 2],
        order: RowOrder,
        w: DeviceSlice<'_, bf16>,
    ) -> Result<Self, CudaError> {
        let [n, k] = shape;
        let kernel = quantise_kernel(format, WeightType::BF16)?;
        expect_multiple(OP, "columns", k, 32, "a multiple of 32")?;
        expect_equal(OP, "elements of w", w.len(), n * k)?;
        let mut weight = Self::empty(device, format, shape, order)?;
        weight.launch_pack(device, kernel, w, 0, n)?;
        Ok(weight)
    }

    fn empty(
        device: &CudaDevice,
        format: QuantisedFormat,
        shape: [usize; 2],
        order: RowOrder,
    ) -> Result<Self, CudaError> {
        if order == RowOrder::Gated {
            expect_multiple(OP, "rows of a gated weight", shape[0], 16, "a multiple of 16")?;
        }
        let parts = format.parts();
        let plane_bytes = parts.plane_bytes(shape);
        let minima = parts.has_minima.then(|| device.alloc(WHAT, plane_bytes)).transpose()?;
        Ok(Self {
            format,
            shape,
            order,
            codes: device.alloc(WHAT, parts.code_bytes(shape))?,
            scales: device.alloc(WHAT, plane_bytes)?,
            minima,
        })
    }

    /// Packs `rows` rows from `first_row` on, which begins a tile.
    fn launch_pack<T: super::super::buffer::DeviceElement>(
        &mut self,
        device: &CudaDevice,
        kernel: Kernel,
        source: DeviceSlice<'_, T>,
        first_row: usize,
        rows: usize,
    ) -> Result<(), CudaError> {
        let k = self.shape[1];
        let parts = self.format.parts();
        let before = [first_row, k];
        let (codes_at, plane_at) = (parts.code_bytes(before) as u64, parts.plane_bytes(before) as u64);
        let mut arguments = Arguments::new()
            .input(source)
            .wide(self.codes.as_mut_slice().pointer() + codes_at)
            .wide(self.scales.as_mut_slice().pointer() + plane_at);
        if let Some(minima) = &mut self.minima {
            arguments = arguments.wide(minima.as_mut_slice().pointer() + plane_at);
        }
        let arguments = arguments.size(rows).size(k).size(self.gated_flag());
        let grid = Grid::new([rows.div_ceil(TILE[0]), k.div_ceil(TILE[1]), 1], 32);
        // SAFETY: the planes have room for all rows, and `first_row` begins a tile of them, as the pieces
        // are whole tiles; the source holds `rows` rows; the planes are mutable borrows.
        unsafe { device.launch(kernel, grid, arguments) }?;
        // Products read weights before they wait for the kernel in front.
        device.begin_plain_work()
    }

    /// Writes the weight as bf16, rows in their own order.
    ///
    /// # Shapes
    ///
    /// - `out`: `[n, k]`
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`].
    pub fn dequantise(
        &self,
        device: &CudaDevice,
        out: &mut DeviceSliceMut<'_, bf16>,
    ) -> Result<(), CudaError> {
        let [n, k] = self.shape;
        expect_equal("dequantise", "elements of out", out.len(), n * k)?;
        let arguments = self.append_planes(Arguments::new());
        let arguments = arguments.output(out).size(n).size(k).size(self.gated_flag());
        let grid = Grid::new([n.div_ceil(TILE[0]), k.div_ceil(TILE[1]), 1], 32);
        // SAFETY: the planes are those of the shape, `out` has its length and is a mutable borrow.
        unsafe { device.launch(self.format.parts().dequantise, grid, arguments) }?;
        device.begin_plain_work()
    }

    /// The planes in the order of the kernels' parameters.
    pub(super) fn append_planes(&self, arguments: Arguments) -> Arguments {
        arguments
            .input(self.codes.as_slice())
            .input(self.scales.as_slice())
            .optional_input(self.minima.as_ref().map(DeviceBuffer::as_slice))
    }

    fn gated_flag(&self) -> usize {
        usize::from(self.order == RowOrder::Gated)
    }

    /// How its numbers are kept.
    pub fn format(&self) -> QuantisedFormat {
        self.format
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// How its rows stand.
    pub fn order(&self) -> RowOrder {
        self.order
    }

    /// Bytes it takes.
    pub fn size_bytes(&self) -> usize {
        self.format.size_bytes(self.shape)
    }
}

/// The kernel that packs a file's type into a format.
fn pack_kernel(weight_type: WeightType, format: QuantisedFormat) -> Option<Kernel> {
    match (weight_type, format) {
        (WeightType::Q4_0, QuantisedFormat::Q4Group128) => return Some(Kernel::PackQ40Group128),
        (WeightType::Q4_1, QuantisedFormat::Q4Group128Min) => return Some(Kernel::PackQ41Group128),
        _ => {}
    }
    if QuantisedFormat::of_blocks(weight_type) != Some(format) {
        return None;
    }
    match weight_type {
        WeightType::Q4_0 => Some(Kernel::PackQ40),
        WeightType::Q4_1 => Some(Kernel::PackQ41),
        WeightType::Q5_0 => Some(Kernel::PackQ50),
        WeightType::Q5_1 => Some(Kernel::PackQ51),
        WeightType::Q8_0 => Some(Kernel::PackQ80),
        WeightType::Q4K => Some(Kernel::PackQ4K),
        WeightType::Q5K => Some(Kernel::PackQ5K),
        WeightType::Q6K => Some(Kernel::PackQ6K),
        WeightType::F32 | WeightType::F16 | WeightType::BF16 | WeightType::Q2K | WeightType::Q3K => None,
    }
}

/// The kernel that quantises floats of a type.
fn quantise_kernel(format: QuantisedFormat, weight_type: WeightType) -> Result<Kernel, CudaError> {
    let of_types = match format {
        QuantisedFormat::Q4Group128 => [Kernel::PackQ4g128, Kernel::PackQ4g128F16, Kernel::PackQ4g128F32],
        QuantisedFormat::Q8Row => [Kernel::PackQ8c, Kernel::PackQ8cF16, Kernel::PackQ8cF32],
        QuantisedFormat::F8Row => [Kernel::PackF8c, Kernel::PackF8cF16, Kernel::PackF8cF32],
        QuantisedFormat::Q4Group32
        | QuantisedFormat::Q4Group32Min
        | QuantisedFormat::Q4Group128Min
        | QuantisedFormat::Q5Group32
        | QuantisedFormat::Q5Group32Min
        | QuantisedFormat::Q6Group16
        | QuantisedFormat::Q8Group32 => {
            let (what, found) = ("format", format!("{format:?}"));
            return Err(CudaError::Unsupported {
                op: OP,
                what,
                found,
                supported: "Q4Group128, Q8Row or F8Row",
            });
        }
    };
    match weight_type {
        WeightType::BF16 => Ok(of_types[0]),
        WeightType::F16 => Ok(of_types[1]),
        WeightType::F32 => Ok(of_types[2]),
        other => {
            let (what, found) = ("type of the weight", other.to_string());
            Err(CudaError::Unsupported { op: OP, what, found, supported: "bf16, f16 or f32" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_format_and_is_not_a_float_is_widened() {
        for weight_type in WeightType::ALL {
            let is_float = weight_type.block_len() == 1;
            let format = QuantisedFormat::of_blocks(weight_type);
            let has_format = format.is_some();
            let kernel = format.and_then(|format| pack_kernel(weight_type, format));
            assert_eq!(has_format, kernel.is_some(), "{weight_type}");
            assert_eq!(weight_type.is_widened_on_gpu(), !is_float && !has_format, "{weight_type}");
        }
    }
}

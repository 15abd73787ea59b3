//! Quantised weights on the device: formats, planes, and how both come about.
//!
//! A weight is two or three planes in the order in which the tensor cores read them (`quantised.cuh`):
//! codes, scales, and minima where the format has them. They are made on the device, from the blocks of a
//! file or from bf16 weights.

use half::bf16;

use super::super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::rows::expect_multiple;
use crate::weight::WeightType;

const OP: &str = "pack";
const WHAT: &str = "a quantised weight";

/// Rows of a tile, and columns of a step.
const TILE: [usize; 2] = [16, 64];

/// A file's blocks are copied up in pieces of about so many bytes.
const PIECE_BYTES: usize = 32 << 20;

/// How a weight's numbers are kept on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantisedFormat {
    /// GGUF `Q4_0`: 4 bits, an f16 scale for each 32 columns; 4.5 bits a weight.
    Q4Group32,
    /// GGUF `Q4_1` and `Q4_K`: the same with minima; 5 bits a weight.
    Q4Group32Min,
    /// 4 bits, an f16 scale for each 128 columns; 4.125 bits a weight.
    Q4Group128,
    /// The same with minima; 4.25 bits a weight.
    Q4Group128Min,
    /// GGUF `Q5_0`: 5 bits, an f16 scale for each 32 columns; 5.5 bits a weight.
    Q5Group32,
    /// GGUF `Q5_1` and `Q5_K`: the same with minima; 6 bits a weight.
    Q5Group32Min,
    /// GGUF `Q6_K`: 6 bits, an f16 scale for each 16 columns; 7 bits a weight.
    Q6Group16,
    /// GGUF `Q8_0`: 8 bits, an f16 scale for each 32 columns; 8.5 bits a weight.
    Q8Group32,
    /// 8 bits, an f32 scale for each row; 8 bits a weight.
    Q8Row,
}

/// What a scale stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plane {
    /// So many columns of a row; f16.
    Groups(usize),
    /// A row; f32.
    Rows,
}

/// What is the same for every weight of a format.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormatParts {
    /// Bytes of codes of 16 rows by 64 columns.
    tile_code_bytes: usize,
    plane: Plane,
    has_minima: bool,
    /// For up to 8, 16 and 32 rows of activations.
    pub(super) skinny: [Kernel; 3],
    /// For many rows.
    pub(super) tile: Kernel,
    dequantise: Kernel,
}

impl QuantisedFormat {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Q4Group32,
        Self::Q4Group32Min,
        Self::Q4Group128,
        Self::Q4Group128Min,
        Self::Q5Group32,
        Self::Q5Group32Min,
        Self::Q6Group16,
        Self::Q8Group32,
        Self::Q8Row,
    ];

    /// The format that holds a file's type as it is; none for floats, `Q2_K` and `Q3_K`.
    pub fn of_blocks(weight_type: WeightType) -> Option<Self> {
        match weight_type {
            WeightType::Q4_0 => Some(Self::Q4Group32),
            WeightType::Q4_1 | WeightType::Q4K => Some(Self::Q4Group32Min),
            WeightType::Q5_0 => Some(Self::Q5Group32),
            WeightType::Q5_1 | WeightType::Q5K => Some(Self::Q5Group32Min),
            WeightType::Q6K => Some(Self::Q6Group16),
            WeightType::Q8_0 => Some(Self::Q8Group32),
            WeightType::F32 | WeightType::F16 | WeightType::BF16 | WeightType::Q2K | WeightType::Q3K => None,
        }
    }

    /// Why a weight of this type takes 16 bits a weight on the device, in words for a warning; none if it
    /// does not, or is of 16 bits anyway.
    pub fn widening_warning(weight_type: WeightType) -> Option<String> {
        match weight_type {
            WeightType::Q2K | WeightType::Q3K => Some(format!(
                "weights of type {weight_type} have no kernel on the GPU and are widened to bf16, which \
                 takes 16 bits a weight; a Q4_K file of this model needs a third of the memory"
            )),
            WeightType::F32
            | WeightType::F16
            | WeightType::BF16
            | WeightType::Q4_0
            | WeightType::Q4_1
            | WeightType::Q5_0
            | WeightType::Q5_1
            | WeightType::Q8_0
            | WeightType::Q4K
            | WeightType::Q5K
            | WeightType::Q6K => None,
        }
    }

    pub(super) fn parts(self) -> FormatParts {
        let (tile_code_bytes, plane, has_minima, skinny, tile, dequantise) = match self {
            Self::Q4Group32 => (
                512,
                Plane::Groups(32),
                false,
                [Kernel::LinearQ4g32M8, Kernel::LinearQ4g32M16, Kernel::LinearQ4g32M32],
                Kernel::LinearTileQ4g32,
                Kernel::DequantiseQ4g32,
            ),
            Self::Q4Group32Min => (
                512,
                Plane::Groups(32),
                true,
                [Kernel::LinearQ4g32zM8, Kernel::LinearQ4g32zM16, Kernel::LinearQ4g32zM32],
                Kernel::LinearTileQ4g32z,
                Kernel::DequantiseQ4g32z,
            ),
            Self::Q4Group128 => (
                512,
                Plane::Groups(128),
                false,
                [Kernel::LinearQ4g128M8, Kernel::LinearQ4g128M16, Kernel::LinearQ4g128M32],
                Kernel::LinearTileQ4g128,
                Kernel::DequantiseQ4g128,
            ),
            Self::Q4Group128Min => (
                512,
                Plane::Groups(128),
                true,
                [Kernel::LinearQ4g128zM8, Kernel::LinearQ4g128zM16, Kernel::LinearQ4g128zM32],
                Kernel::LinearTileQ4g128z,
                Kernel::DequantiseQ4g128z,
            ),
            Self::Q5Group32 => (
                640,
                Plane::Groups(32),
                false,
                [Kernel::LinearQ5g32M8, Kernel::LinearQ5g32M16, Kernel::LinearQ5g32M32],
                Kernel::LinearTileQ5g32,
                Kernel::DequantiseQ5g32,
            ),
            Self::Q5Group32Min => (
                640,
                Plane::Groups(32),
                true,
                [Kernel::LinearQ5g32zM8, Kernel::LinearQ5g32zM16, Kernel::LinearQ5g32zM32],
                Kernel::LinearTileQ5g32z,
                Kernel::DequantiseQ5g32z,
            ),
            Self::Q6Group16 => (
                768,
                Plane::Groups(16),
                false,
                [Kernel::LinearQ6g16M8, Kernel::LinearQ6g16M16, Kernel::LinearQ6g16M32],
                Kernel::LinearTileQ6g16,
                Kernel::DequantiseQ6g16,
            ),
            Self::Q8Group32 => (
                1024,
                Plane::Groups(32),
                false,
                [Kernel::LinearQ8g32M8, Kernel::LinearQ8g32M16, Kernel::LinearQ8g32M32],
                Kernel::LinearTileQ8g32,
                Kernel::DequantiseQ8g32,
            ),
            Self::Q8Row => (
                1024,
                Plane::Rows,
                false,
                [Kernel::LinearQ8cM8, Kernel::LinearQ8cM16, Kernel::LinearQ8cM32],
                Kernel::LinearTileQ8c,
                Kernel::DequantiseQ8c,
            ),
        };
        FormatParts { tile_code_bytes, plane, has_minima, skinny, tile, dequantise }
    }

    /// Bytes that a weight `[n, k]` takes.
    pub fn size_bytes(self, shape: [usize; 2]) -> usize {
        let parts = self.parts();
        let num_planes = if parts.has_minima { 2 } else { 1 };
        parts.code_bytes(shape) + num_planes * parts.plane_bytes(shape)
    }
}

impl FormatParts {
    fn code_bytes(self, [n, k]: [usize; 2]) -> usize {
        n.div_ceil(TILE[0]) * k.div_ceil(TILE[1]) * self.tile_code_bytes
    }

    /// Bytes of the scales, and of the minima.
    fn plane_bytes(self, [n, k]: [usize; 2]) -> usize {
        match self.plane {
            Plane::Rows => n * size_of::<f32>(),
            Plane::Groups(group) => {
                // Rows are filled up to whole steps, or to whole groups where these are longer.
                let columns = k.next_multiple_of(group.max(TILE[1]));
                n.next_multiple_of(TILE[0]) * (columns / group) * 2
            }
        }
    }

    /// Shared memory for a tile of 16 rows by 64 columns: as in the kernels, a lane has its own copy of a
    /// scale.
    fn staged_tile_bytes(self) -> usize {
        let scale_bytes = match self.plane {
            Plane::Rows => 0,
            Plane::Groups(128) => 4,
            Plane::Groups(group) => TILE[1] / group * 4,
        };
        let num_planes = if self.has_minima { 2 } else { 1 };
        self.tile_code_bytes + num_planes * scale_bytes * 32
    }

    /// Dynamic shared memory of the skinny kernel that takes `8 * col_tiles` rows: eight warps with four
    /// stages of two weight tiles and the activations.
    pub(super) fn skinny_shared_bytes(self, col_tiles: usize) -> usize {
        8 * 4 * (2 * self.staged_tile_bytes() + col_tiles * 1024)
    }

    /// Dynamic shared memory of the kernel for many rows: three stages of 128 rows of activations and eight
    /// weight tiles, and these widened.
    pub(super) fn tile_shared_bytes(self) -> usize {
        3 * (16_384 + 8 * self.staged_tile_bytes()) + 16_384
    }
}

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
        let [n, k] = shape;
        let (Some(format), Some(kernel)) =
            (QuantisedFormat::of_blocks(weight_type), pack_kernel(weight_type))
        else {
            let (what, found) = ("type of the weight", weight_type.to_string());
            let supported = "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K";
            return Err(CudaError::Unsupported { op: OP, what, found, supported });
        };
        expect_multiple(OP, "columns", k, weight_type.block_len(), "whole blocks")?;
        let row_bytes = k / weight_type.block_len() * weight_type.block_bytes();
        expect_equal(OP, "bytes of the blocks", blocks.len(), n * row_bytes)?;
        let mut weight = Self::empty(device, format, shape, order)?;
        let piece_rows = match order {
            RowOrder::Plain => (PIECE_BYTES / row_bytes.max(1)).next_multiple_of(TILE[0]).clamp(1, n.max(1)),
            RowOrder::Gated => n.max(1),
        };
        let mut staging: DeviceBuffer<u8> = device.alloc("blocks of a weight", piece_rows * row_bytes)?;
        for first_row in (0..n).step_by(piece_rows) {
            let rows = piece_rows.min(n - first_row);
            let piece = &blocks[first_row * row_bytes..(first_row + rows) * row_bytes];
            device.upload(piece, &mut staging.as_mut_slice().slice(0..piece.len()))?;
            let source = staging.as_slice().slice(0..piece.len());
            weight.launch_pack(device, kernel, source, first_row, rows)?;
        }
        Ok(weight)
    }

    /// Quantises a bf16 weight, symmetrically: to 4 bits with a scale for each 128 columns, or to 8 bits
    /// with a scale for each row.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] for another format, and for columns that are no multiple of 32;
    /// [`CudaError::Shape`], [`CudaError::ArenaFull`].
    pub fn quantise(
        device: &CudaDevice,
        format: QuantisedFormat,
        shape: [usize; 2],
        order: RowOrder,
        w: DeviceSlice<'_, bf16>,
    ) -> Result<Self, CudaError> {
        let [n, k] = shape;
        let kernel = match format {
            QuantisedFormat::Q4Group128 => Kernel::PackQ4g128,
            QuantisedFormat::Q8Row => Kernel::PackQ8c,
            QuantisedFormat::Q4Group32
            | QuantisedFormat::Q4Group32Min
            | QuantisedFormat::Q4Group128Min
            | QuantisedFormat::Q5Group32
            | QuantisedFormat::Q5Group32Min
            | QuantisedFormat::Q6Group16
            | QuantisedFormat::Q8Group32 => {
                let (what, found) = ("format", format!("{format:?}"));
                return Err(CudaError::Unsupported { op: OP, what, found, supported: "Q4Group128 or Q8Row" });
            }
        };
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

/// The kernel that packs a file's type.
fn pack_kernel(weight_type: WeightType) -> Option<Kernel> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shared_memory_are_those_of_the_table_in_abi_md() {
        let of = |format: QuantisedFormat| {
            let shared = [1, 2, 4].map(|col_tiles| format.parts().skinny_shared_bytes(col_tiles));
            (format.size_bytes([4096, 4096]) * 16 / (4096 * 4096), shared)
        };
        // Eighths of a byte, twice: 16 * bytes / weights.
        assert_eq!(of(QuantisedFormat::Q4Group32), (9, [81_920, 114_688, 180_224]));
        assert_eq!(of(QuantisedFormat::Q4Group32Min), (10, [98_304, 131_072, 196_608]));
        assert_eq!(of(QuantisedFormat::Q4Group128).1, [73_728, 106_496, 172_032]);
        assert_eq!(of(QuantisedFormat::Q4Group128Min).1, [81_920, 114_688, 180_224]);
        assert_eq!(of(QuantisedFormat::Q5Group32), (11, [90_112, 122_880, 188_416]));
        assert_eq!(of(QuantisedFormat::Q5Group32Min), (12, [106_496, 139_264, 204_800]));
        assert_eq!(of(QuantisedFormat::Q6Group16), (14, [114_688, 147_456, 212_992]));
        assert_eq!(of(QuantisedFormat::Q8Group32), (17, [114_688, 147_456, 212_992]));
        assert_eq!(of(QuantisedFormat::Q8Row), (16, [98_304, 131_072, 196_608]));
        let tile = QuantisedFormat::ALL.map(|format| format.parts().tile_shared_bytes());
        let expected = [83_968, 90_112, 80_896, 83_968, 87_040, 93_184, 96_256, 96_256, 90_112];
        assert_eq!(tile, expected);
    }

    #[test]
    fn what_has_no_format_and_is_not_a_float_has_a_warning() {
        for weight_type in WeightType::ALL {
            let is_float = weight_type.block_len() == 1;
            let has_format = QuantisedFormat::of_blocks(weight_type).is_some();
            assert_eq!(has_format, pack_kernel(weight_type).is_some(), "{weight_type}");
            let has_warning = QuantisedFormat::widening_warning(weight_type).is_some();
            assert_eq!(has_warning, !is_float && !has_format, "{weight_type}");
        }
    }
}

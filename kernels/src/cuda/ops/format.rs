//! Formats of quantised weights on the device: bits, planes, kernels, sizes.

use super::super::functions::Kernel;
use crate::weight::{Quantisation, WeightType};

/// Rows of a tile, and columns of a step.
pub(super) const TILE: [usize; 2] = [16, 64];

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
    /// Floats of 8 bits (e4m3), an f32 scale for each row; 8 bits a weight.
    F8Row,
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
    pub(super) has_minima: bool,
    /// For up to 8, 16 and 32 rows of activations.
    pub(super) skinny: [Kernel; 3],
    /// For many rows.
    pub(super) tile: Kernel,
    pub(super) dequantise: Kernel,
}

impl QuantisedFormat {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Q4Group32,
        Self::Q4Group32Min,
        Self::Q4Group128,
        Self::Q4Group128Min,
        Self::Q5Group32,
        Self::Q5Group32Min,
        Self::Q6Group16,
        Self::Q8Group32,
        Self::Q8Row,
        Self::F8Row,
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

    /// The format that floats are quantised to.
    pub fn of_quantisation(quantisation: Quantisation) -> Self {
        match quantisation {
            Quantisation::Int8 => Self::Q8Row,
            Quantisation::Int4 => Self::Q4Group128,
            Quantisation::Fp8 => Self::F8Row,
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
            Self::F8Row => (
                1024,
                Plane::Rows,
                false,
                [Kernel::LinearF8cM8, Kernel::LinearF8cM16, Kernel::LinearF8cM32],
                Kernel::LinearTileF8c,
                Kernel::DequantiseF8c,
            ),
        };
        FormatParts { tile_code_bytes, plane, has_minima, skinny, tile, dequantise }
    }

    /// The kernel for up to 8 rows of activations whose blocks of threads have one tile of weight rows, not two.
    pub(super) fn narrow_kernel(self) -> Kernel {
        match self {
            Self::Q4Group32 => Kernel::LinearQ4g32M8R16,
            Self::Q4Group32Min => Kernel::LinearQ4g32zM8R16,
            Self::Q4Group128 => Kernel::LinearQ4g128M8R16,
            Self::Q4Group128Min => Kernel::LinearQ4g128zM8R16,
            Self::Q5Group32 => Kernel::LinearQ5g32M8R16,
            Self::Q5Group32Min => Kernel::LinearQ5g32zM8R16,
            Self::Q6Group16 => Kernel::LinearQ6g16M8R16,
            Self::Q8Group32 => Kernel::LinearQ8g32M8R16,
            Self::Q8Row => Kernel::LinearQ8cM8R16,
            Self::F8Row => Kernel::LinearF8cM8R16,
        }
    }

    /// Bytes that a weight `[n, k]` takes.
    pub fn size_bytes(self, shape: [usize; 2]) -> usize {
        let parts = self.parts();
        let num_planes = if parts.has_minima { 2 } else { 1 };
        parts.code_bytes(shape) + num_planes * parts.plane_bytes(shape)
    }
}

impl FormatParts {
    pub(super) fn code_bytes(self, [n, k]: [usize; 2]) -> usize {
        n.div_ceil(TILE[0]) * k.div_ceil(TILE[1]) * self.tile_code_bytes
    }

    /// Bytes of the scales, and of the minima.
    pub(super) fn plane_bytes(self, [n, k]: [usize; 2]) -> usize {
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

    /// Dynamic shared memory of the skinny kernel that takes `16 * row_tiles` weight rows and `8 * col_tiles` rows
    /// of activations: eight warps with four stages of both.
    pub(super) fn skinny_shared_bytes(self, [row_tiles, col_tiles]: [usize; 2]) -> usize {
        8 * 4 * (row_tiles * self.staged_tile_bytes() + col_tiles * 1024)
    }

    /// Dynamic shared memory of the kernel for many rows: three stages of 128 rows of activations and eight
    /// weight tiles, and these widened.
    pub(super) fn tile_shared_bytes(self) -> usize {
        3 * (16_384 + 8 * self.staged_tile_bytes()) + 16_384
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantised_number_takes_the_bits_that_are_told() {
        for quantisation in Quantisation::ALL {
            let bytes = QuantisedFormat::of_quantisation(quantisation).size_bytes([1024, 4096]);
            let bits = 8.0 * bytes as f64 / (1024.0 * 4096.0);
            // A scale for each row is left out.
            assert!((bits - quantisation.gpu_bits()).abs() < 0.01, "{quantisation}: {bits}");
        }
    }

    #[test]
    fn sizes_and_shared_memory_are_those_of_the_table_in_abi_md() {
        let of = |format: QuantisedFormat| {
            let shared = [1, 2, 4].map(|col_tiles| format.parts().skinny_shared_bytes([2, col_tiles]));
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
        assert_eq!(of(QuantisedFormat::F8Row), (16, [98_304, 131_072, 196_608]));
        let narrow = QuantisedFormat::ALL.map(|format| format.parts().skinny_shared_bytes([1, 1]));
        let expected = [57_344, 65_536, 53_248, 57_344, 61_440, 69_632, 73_728, 73_728, 65_536, 65_536];
        assert_eq!(narrow, expected);
        let tile = QuantisedFormat::ALL.map(|format| format.parts().tile_shared_bytes());
        let expected = [83_968, 90_112, 80_896, 83_968, 87_040, 93_184, 96_256, 96_256, 90_112, 90_112];
        assert_eq!(tile, expected);
    }
}

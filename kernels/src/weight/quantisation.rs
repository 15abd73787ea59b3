//! What float weights can be rounded to when they are loaded.

use std::fmt;

use super::WeightType;

/// What float weights are rounded to when they are loaded; all symmetric, zero stays zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantisation {
    /// 8 bits. On a GPU with a scale for each row, on the CPU as `Q8_0`.
    Int8,
    /// 4 bits. On a GPU with a scale for each 128 columns, on the CPU as `Q4_0`.
    Int4,
    /// Floats of 8 bits (e4m3) with a scale for each row; on a GPU only.
    Fp8,
}

impl Quantisation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Int4, Self::Fp8];

    /// What the columns of a weight must be a multiple of, on every device.
    pub const COLUMNS: usize = super::QUANT_BLOCK;

    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Fp8 => "fp8",
        }
    }

    /// The blocks that the CPU rounds to, if it can.
    pub fn cpu_type(self) -> Option<WeightType> {
        match self {
            Self::Int8 => Some(WeightType::Q8_0),
            Self::Int4 => Some(WeightType::Q4_0),
            Self::Fp8 => None,
        }
    }

    /// Bits that a number takes on a GPU, in a matrix large enough that its edges do not count.
    pub fn gpu_bits(self) -> f64 {
        match self {
            Self::Int8 | Self::Fp8 => 8.0,
            Self::Int4 => 4.125,
        }
    }
}

impl fmt::Display for Quantisation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

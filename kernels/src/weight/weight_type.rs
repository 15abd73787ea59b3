//! How the numbers of a weight are stored in a file.

use std::fmt;

use crate::error::KernelError;

/// How a weight's numbers are stored.
///
/// The quantised types are GGUF's blocks along `k`. Of 32 numbers, with `d` and `m` in f16: `Q4_0` is
/// `d * (q - 8)`, `Q5_0` `d * (q - 16)`, `Q8_0` `d * q`; `Q4_1` and `Q5_1` are `d * q + m`. Of 256
/// numbers, whose groups of 16 or 32 each have a small integer scale `s`, and some a minimum `n`:
/// `Q3_K` is `d * s * (q - 4)`, `Q6_K` `d * s * (q - 32)`; `Q2_K`, `Q4_K` and `Q5_K` are
/// `d * s * q - m * n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision. Activations are rounded to it, too.
    BF16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 2 bits; groups of 16 with 4-bit scales and minima.
    Q2K,
    /// 3 bits; groups of 16 with 6-bit scales.
    Q3K,
    /// 4 bits; groups of 32 with 6-bit scales and minima.
    Q4K,
    /// 5 bits; groups of 32 with 6-bit scales and minima.
    Q5K,
    /// 6 bits; groups of 16 with 8-bit scales.
    Q6K,
}

impl WeightType {
    /// All of them, in order: the place of each is its number.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The name that files and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Numbers that share one block of bytes: 32 or 256 if quantised, else 1.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block in a file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `k` numbers in a file, if `k` is a whole number of blocks.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        let blocks = k.is_multiple_of(self.block_len()).then(|| k / self.block_len())?;
        blocks.checked_mul(self.block_bytes())
    }

    /// Refuses bytes that are not those of exactly as many numbers, in whole blocks.
    pub(crate) fn expect_bytes(self, num_numbers: usize, actual_bytes: usize) -> Result<(), KernelError> {
        let expected = self.row_bytes(num_numbers);
        if expected == Some(actual_bytes) {
            return Ok(());
        }
        // Where numbers are no whole number of blocks: those of the blocks that are whole.
        let expected_bytes = expected.unwrap_or(num_numbers / self.block_len() * self.block_bytes());
        Err(KernelError::ByteLength { name: "numbers of a weight", actual_bytes, expected_bytes })
    }

    /// Bits that a number takes in a file.
    pub fn file_bits(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block_len() as f64
    }

    /// Bits that a number takes on a GPU, in a matrix large enough that its edges do not count.
    pub fn gpu_bits(self) -> f64 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Q2K | Self::Q3K => 16.0,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => self.file_bits(),
            // Scales of 6 and 8 bits are folded into one of f16 for each group.
            Self::Q4_1 | Self::Q4K => 5.0,
            Self::Q5_1 | Self::Q5K => 6.0,
            Self::Q6K => 7.0,
        }
    }

    /// Whether a GPU has no products for this quantised type, and holds it as bf16.
    pub fn is_widened_on_gpu(self) -> bool {
        matches!(self, Self::Q2K | Self::Q3K)
    }

    /// What the columns of a weight of this type must be, in words.
    pub(crate) fn columns_rule(self) -> &'static str {
        match self.block_len() {
            32 => "be a multiple of 32",
            256 => "be a multiple of 256",
            _ => "be few enough that a row's bytes can be counted",
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;
    use crate::cuda::ops::format::QuantisedFormat;

    #[test]
    fn bits_on_a_gpu_are_those_of_its_formats() {
        for weight_type in WeightType::ALL {
            let shape = [1024, 1024];
            let bytes = QuantisedFormat::of_blocks(weight_type).map(|format| format.size_bytes(shape));
            let bits = bytes.map_or(16.0, |bytes| 8.0 * bytes as f64 / (1024.0 * 1024.0));
            assert_eq!(bits.to_bits(), weight_type.gpu_bits().to_bits(), "{weight_type}: {bits}");
        }
    }
}

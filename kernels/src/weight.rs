//! Weight matrices as they come from a file, and as ops want them.
//!
//! A [`WeightSource`] is a matrix `[n, k]` of a file, still in the file's bytes. A [`PackedWeight`] is
//! one or several of them, one below the other, rearranged at load for the device. It serves as a
//! product's weight and as an embedding table at once, so that a tied matrix is kept once.

use std::fmt;

use crate::cpu::CpuWeight;
use crate::device::Device;
use crate::error::KernelError;

/// How a weight's numbers are stored.
///
/// The quantised types are GGUF's blocks of 32 along `k`: `Q4_0` is `d * (q - 8)`, `Q4_1` is `d * q + m`,
/// `Q8_0` is `d * q`, with `d` and `m` in f16.
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
    /// 8 bits and a scale.
    Q8_0,
}

/// Numbers in one block of a quantised type.
pub const QUANT_BLOCK: usize = 32;

impl WeightType {
    /// Numbers that share one block of bytes: 32 if quantised, else 1.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => QUANT_BLOCK,
        }
    }

    /// Bytes of one block in a file.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of a row of `k` numbers in a file, if `k` is a whole number of blocks.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        let blocks = k.is_multiple_of(self.block_len()).then(|| k / self.block_len())?;
        blocks.checked_mul(self.block_bytes())
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
        })
    }
}

/// A matrix `[n, k]` in a file's own bytes, row after row, little-endian.
#[derive(Debug, Clone, Copy)]
pub struct WeightSource<'a> {
    weight_type: WeightType,
    n: usize,
    k: usize,
    bytes: &'a [u8],
}

impl<'a> WeightSource<'a> {
    /// Names the bytes as a matrix of `n` rows and `k` columns.
    ///
    /// # Errors
    ///
    /// [`KernelError::Invalid`] if `k` is no whole number of blocks or a side is zero,
    /// [`KernelError::ByteLength`] if the bytes are not as many as the shape calls for.
    pub fn new(weight_type: WeightType, [n, k]: [usize; 2], bytes: &'a [u8]) -> Result<Self, KernelError> {
        for (name, value) in [("rows of a weight", n), ("columns of a weight", k)] {
            if value == 0 {
                return Err(KernelError::Invalid { name, value, rule: "be at least 1" });
            }
        }
        let row_bytes = weight_type.row_bytes(k).ok_or(KernelError::Invalid {
            name: "columns of a quantised weight",
            value: k,
            rule: "be a multiple of 32",
        })?;
        let expected_bytes = row_bytes.saturating_mul(n);
        if bytes.len() != expected_bytes {
            return Err(KernelError::ByteLength {
                name: "weight",
                actual_bytes: bytes.len(),
                expected_bytes,
            });
        }
        Ok(Self { weight_type, n, k, bytes })
    }

    /// How the numbers are stored.
    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.n, self.k]
    }

    /// The bytes of row `row_idx`.
    pub(crate) fn row(&self, row_idx: usize) -> &'a [u8] {
        let row_bytes = self.bytes.len() / self.n;
        &self.bytes[row_idx * row_bytes..(row_idx + 1) * row_bytes]
    }
}

/// A weight `[n, k]` on a device, packed for its products.
#[derive(Debug)]
pub struct PackedWeight {
    storage: PackedStorage,
    weight_type: WeightType,
    shape: [usize; 2],
}

#[derive(Debug)]
enum PackedStorage {
    Cpu(CpuWeight),
}

impl PackedWeight {
    /// Packs matrices of equal `k`, one below the other, to be computed with as `compute_type`.
    ///
    /// Every source must be of `compute_type`, or `compute_type` must be f32, f16 or bf16, to which
    /// any source is converted (rounded to nearest even).
    ///
    /// # Errors
    ///
    /// [`KernelError::Conversion`] for any other pair of types, [`KernelError::Shape`] if `k` differs,
    /// [`KernelError::Invalid`] if there is no source, [`KernelError::OutOfMemory`].
    pub fn pack(
        device: &Device,
        sources: &[WeightSource<'_>],
        compute_type: WeightType,
    ) -> Result<Self, KernelError> {
        let first = sources.first().ok_or(KernelError::Invalid {
            name: "sources of a weight",
            value: 0,
            rule: "be at least 1",
        })?;
        let mut n = 0_usize;
        for source in sources {
            crate::error::expect_shape("weight", source.shape(), [source.n, first.k])?;
            let convertible = compute_type.block_len() == 1 || source.weight_type == compute_type;
            if !convertible {
                return Err(KernelError::Conversion { source_type: source.weight_type, compute_type });
            }
            n += source.n;
        }
        let shape = [n, first.k];
        let storage = match device {
            Device::Cpu(cpu) => PackedStorage::Cpu(CpuWeight::pack(cpu, sources, compute_type, shape)?),
        };
        Ok(Self { storage, weight_type: compute_type, shape })
    }

    /// The type computed with.
    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes it takes on the device.
    pub fn size_bytes(&self) -> usize {
        match &self.storage {
            PackedStorage::Cpu(weight) => weight.size_bytes(),
        }
    }

    /// The weight in host memory.
    pub(crate) fn as_cpu(&self) -> &CpuWeight {
        match &self.storage {
            PackedStorage::Cpu(weight) => weight,
        }
    }
}

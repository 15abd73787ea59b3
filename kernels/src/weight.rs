//! Weight matrices as they come from a file, and as ops want them.
//!
//! A [`WeightSource`] is a matrix `[n, k]` of a file, still in the file's bytes. A [`PackedWeight`] is
//! one or several of them, one below the other, rearranged at load for the device. It serves as a
//! product's weight and as an embedding table at once, so that a tied matrix is kept once.

#![expect(
    clippy::inline_always,
    reason = "decoding must become part of the function that has the instruction set's features"
)]

use crate::cpu::CpuWeight;
#[cfg(feature = "cuda")]
use crate::cuda::dispatch::pack;
#[cfg(feature = "cuda")]
use crate::cuda::ops::stacked::StackedWeight;
use crate::device::Device;
use crate::error::KernelError;

pub(crate) mod block;
mod dequantise;
mod encode;
mod quantisation;
mod weight_type;

pub use dequantise::dequantise;
pub(crate) use dequantise::{decode_block, decode_numbers};
pub use encode::encode;
pub(crate) use encode::encode_numbers;
pub use quantisation::Quantisation;
pub use weight_type::WeightType;

/// Numbers that a CPU's products take at once along `k`: activations share a scale.
pub const QUANT_BLOCK: usize = 32;

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
            rule: weight_type.columns_rule(),
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

    /// All bytes, row after row.
    #[cfg(feature = "cuda")]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of row `row_idx`.
    pub(crate) fn row(&self, row_idx: usize) -> &'a [u8] {
        let row_bytes = self.bytes.len() / self.n;
        &self.bytes[row_idx * row_bytes..(row_idx + 1) * row_bytes]
    }
}

/// What products with a packed weight are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeType {
    /// Each source in the type in which it is stored.
    Stored,
    /// Everything in f32, which holds the numbers of every type.
    F32,
    /// Everything in f16, rounded to nearest even.
    F16,
    /// Everything in bf16, rounded to nearest even.
    BF16,
    /// Floats quantised, whose columns are a multiple of [`Quantisation::COLUMNS`]; sources that are quantised already
    /// in the type in which they are stored.
    Quantised(Quantisation),
}

/// A weight `[n, k]` on a device, packed for its products.
#[derive(Debug)]
pub struct PackedWeight {
    storage: PackedStorage,
    shape: [usize; 2],
}

#[derive(Debug)]
enum PackedStorage {
    Cpu(CpuWeight),
    #[cfg(feature = "cuda")]
    Cuda(StackedWeight),
}

impl PackedWeight {
    /// Packs matrices of equal `k`, one below the other.
    ///
    /// Sources may differ in type, also where they are computed with as stored.
    ///
    /// # Errors
    ///
    /// [`KernelError::Shape`] if `k` differs; [`KernelError::Invalid`] if there is no source, or if its columns cannot be
    /// quantised; [`KernelError::GpuOnly`] for a quantisation that the CPU has not; [`KernelError::OutOfMemory`].
    pub fn pack(
        device: &Device,
        sources: &[WeightSource<'_>],
        compute_type: ComputeType,
    ) -> Result<Self, KernelError> {
        let first = sources.first().ok_or(KernelError::Invalid {
            name: "sources of a weight",
            value: 0,
            rule: "be at least 1",
        })?;
        let mut n = 0_usize;
        for source in sources {
            crate::error::expect_shape("weight", source.shape(), [source.n, first.k])?;
            n += source.n;
        }
        if matches!(compute_type, ComputeType::Quantised(_)) && !first.k.is_multiple_of(Quantisation::COLUMNS)
        {
            let (name, rule) = ("columns of a weight to be quantised", "be a multiple of 32");
            return Err(KernelError::Invalid { name, value: first.k, rule });
        }
        let storage = match device {
            Device::Cpu(cpu) => PackedStorage::Cpu(CpuWeight::pack(cpu, sources, compute_type)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => PackedStorage::Cuda(pack(cuda, sources, compute_type)?),
        };
        Ok(Self { storage, shape: [n, first.k] })
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes it takes on the device.
    pub fn size_bytes(&self) -> usize {
        match &self.storage {
            PackedStorage::Cpu(weight) => weight.size_bytes(),
            #[cfg(feature = "cuda")]
            PackedStorage::Cuda(weight) => weight.size_bytes(),
        }
    }

    /// The weight in host memory.
    pub(crate) fn as_cpu(&self) -> Result<&CpuWeight, KernelError> {
        match &self.storage {
            PackedStorage::Cpu(weight) => Ok(weight),
            #[cfg(feature = "cuda")]
            PackedStorage::Cuda(_) => Err(KernelError::OtherDevice { name: "weight" }),
        }
    }

    /// The weight on the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn as_cuda(&self) -> Result<&StackedWeight, KernelError> {
        match &self.storage {
            PackedStorage::Cpu(_) => Err(KernelError::OtherDevice { name: "weight" }),
            PackedStorage::Cuda(weight) => Ok(weight),
        }
    }
}

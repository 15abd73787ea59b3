//! The types a KV cache may keep its numbers in, and the kernels of each.

use half::bf16;

use super::super::buffer::DeviceElement;
use super::super::error::CudaError;
use super::super::functions::Kernel;
use crate::e4m3::E4m3;

/// A type that a KV cache may be of: [`bf16`] or [`E4m3`].
pub trait CacheElement: DeviceElement {
    /// The kernels that write and read caches of it.
    const KERNELS: CacheKernels;
}

/// The kernels of one type; those of attention for each form of heads (`HeadForm`), in order.
#[derive(Debug, Clone, Copy)]
pub struct CacheKernels {
    pub(super) rope_and_cache: Kernel,
    pub(super) decode: [Kernel; 6],
    pub(super) prefill: [Kernel; 6],
}

impl CacheElement for bf16 {
    const KERNELS: CacheKernels = CacheKernels {
        rope_and_cache: Kernel::RopeAndCache,
        decode: [
            Kernel::PagedDecodeBf16D64,
            Kernel::PagedDecodeBf16D128,
            Kernel::PagedDecodeBf16D256,
            Kernel::PagedDecodeBf16Upto64,
            Kernel::PagedDecodeBf16Upto128,
            Kernel::PagedDecodeBf16Upto256,
        ],
        prefill: [
            Kernel::PagedPrefillBf16D64,
            Kernel::PagedPrefillBf16D128,
            Kernel::PagedPrefillBf16D256,
            Kernel::PagedPrefillBf16Upto64,
            Kernel::PagedPrefillBf16Upto128,
            Kernel::PagedPrefillBf16Upto256,
        ],
    };
}

impl CacheElement for E4m3 {
    const KERNELS: CacheKernels = CacheKernels {
        rope_and_cache: Kernel::RopeAndCacheFp8,
        decode: [
            Kernel::PagedDecodeFp8D64,
            Kernel::PagedDecodeFp8D128,
            Kernel::PagedDecodeFp8D256,
            Kernel::PagedDecodeFp8Upto64,
            Kernel::PagedDecodeFp8Upto128,
            Kernel::PagedDecodeFp8Upto256,
        ],
        prefill: [
            Kernel::PagedPrefillFp8D64,
            Kernel::PagedPrefillFp8D128,
            Kernel::PagedPrefillFp8D256,
            Kernel::PagedPrefillFp8Upto64,
            Kernel::PagedPrefillFp8Upto128,
            Kernel::PagedPrefillFp8Upto256,
        ],
    };
}

/// Which kernel of attention a head size takes: one made for 64, 128 or 256 columns, or for up to so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadForm {
    /// Where the kernel stands among those of its type.
    pub(super) kernel_idx: usize,
    /// Columns it works with, those that are zero included.
    pub(super) columns: usize,
}

impl HeadForm {
    pub(super) fn of(op: &'static str, head_dim: usize) -> Result<Self, CudaError> {
        if head_dim == 0 || head_dim > 256 || !head_dim.is_multiple_of(16) {
            return Err(CudaError::Unsupported {
                op,
                what: "head_dim",
                found: head_dim.to_string(),
                supported: "a multiple of 16 from 16 to 256",
            });
        }
        let (exact_idx, columns) = match head_dim {
            1..=64 => (0, 64),
            65..=128 => (1, 128),
            _ => (2, 256),
        };
        let kernel_idx = if head_dim == columns { exact_idx } else { exact_idx + 3 };
        Ok(Self { kernel_idx, columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_size_takes_the_kernel_made_for_it_or_the_next_larger() {
        let name = |head_dim| {
            HeadForm::of("test", head_dim)
                .map(|form| <bf16 as CacheElement>::KERNELS.decode[form.kernel_idx].name())
                .map_err(|error| error.to_string())
        };
        assert_eq!(name(64), Ok("paged_decode_bf16_d64"));
        assert_eq!(name(256), Ok("paged_decode_bf16_d256"));
        assert_eq!(name(48), Ok("paged_decode_bf16_upto64"));
        assert_eq!(name(96), Ok("paged_decode_bf16_upto128"));
        assert_eq!(name(144), Ok("paged_decode_bf16_upto256"));
        for refused in [0, 8, 100, 272] {
            assert!(name(refused).is_err(), "{refused}");
        }
    }
}

//! A weight in device memory.

use half::bf16;

use crate::cuda::{CudaDevice, CudaError, DeviceBuffer, DeviceSlice};
use crate::error::KernelError;
use crate::weight::{ComputeType, WeightSource, WeightType, decode_numbers};

/// Rows are converted in pieces of about so many bytes.
const PIECE_BYTES: usize = 32 << 20;

/// A packed weight `[n, k]` on the device.
#[derive(Debug)]
pub(crate) struct CudaWeight {
    /// bf16, row-major.
    rows: DeviceBuffer<u8>,
}

impl CudaWeight {
    /// Copies checked sources up, one below the other, as bf16.
    pub(crate) fn pack(
        device: &CudaDevice,
        sources: &[WeightSource<'_>],
        compute_type: ComputeType,
    ) -> Result<Self, KernelError> {
        let n: usize = sources.iter().map(|source| source.shape()[0]).sum();
        let k = sources.first().map_or(0, |source| source.shape()[1]);
        expect_supported(compute_type, k)?;
        let mut rows: DeviceBuffer<u8> = device.alloc("a weight", n * k * 2)?;
        let mut start = 0;
        for source in sources {
            let [source_rows, _] = source.shape();
            let end = start + source_rows * k * 2;
            if source.weight_type() == WeightType::BF16 {
                device.upload(source.bytes(), &mut rows.as_mut_slice().slice(start..end))?;
            } else {
                convert(device, *source, &mut rows, start)?;
            }
            start = end;
        }
        Ok(Self { rows })
    }

    /// Bytes it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.rows.len()
    }

    /// The rows, `[n, k]`.
    pub(super) fn as_bf16(&self) -> DeviceSlice<'_, bf16> {
        self.rows.as_slice().cast().expect("an even number of aligned bytes")
    }
}

fn expect_supported(compute_type: ComputeType, k: usize) -> Result<(), CudaError> {
    const OP: &str = "a weight on the GPU";
    let refused = match compute_type {
        ComputeType::Stored | ComputeType::BF16 => None,
        ComputeType::F32 => Some("f32"),
        ComputeType::F16 => Some("f16"),
    };
    if let Some(found) = refused {
        let supported = "bf16, or auto";
        return Err(CudaError::Unsupported { op: OP, what: "type", found: found.to_owned(), supported });
    }
    if !k.is_multiple_of(8) {
        let supported = "a multiple of 8";
        return Err(CudaError::Unsupported { op: OP, what: "columns", found: k.to_string(), supported });
    }
    Ok(())
}

/// Rounds a source of another type to bf16 and copies it up, piece by piece.
fn convert(
    device: &CudaDevice,
    source: WeightSource<'_>,
    rows: &mut DeviceBuffer<u8>,
    start: usize,
) -> Result<(), CudaError> {
    let [n, k] = source.shape();
    let piece_rows = (PIECE_BYTES / (2 * k)).clamp(1, n);
    let mut values = vec![0.0_f32; k];
    let mut piece: Vec<bf16> = Vec::with_capacity(piece_rows * k);
    for first_row in (0..n).step_by(piece_rows) {
        piece.clear();
        for row_idx in first_row..(first_row + piece_rows).min(n) {
            decode_numbers(source.weight_type(), source.row(row_idx), &mut values);
            piece.extend(values.iter().map(|&value| bf16::from_f32(value)));
        }
        let begin = start + first_row * k * 2;
        let target = rows.as_mut_slice().slice(begin..begin + piece.len() * 2);
        let mut target = target.cast::<bf16>().expect("an even number of aligned bytes");
        device.upload(&piece, &mut target)?;
    }
    Ok(())
}

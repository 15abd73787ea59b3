//! A weight in panels of sixteen rows, the layout that every product of the CPU reads.
//!
//! A panel holds sixteen rows of `[n, k]`, that is sixteen output columns, one for each lane. Along a
//! panel, `k` ascends:
//!
//! | type | panel |
//! |---|---|
//! | f32, f16 | `[k, 16]` |
//! | bf16 | `[k / 2, 16, 2]`: pairs along `k`, a last odd one filled up with zero |
//! | `Q8_0` | `[k / 4, 16, 4]` bytes `q + 128`, then `[k / 32, 16]` f16 scales |
//! | `Q4_0`, `Q4_1` | `[k / 32, 4, 16, 4]` bytes, then scales, then (`Q4_1`) minima |
//!
//! A byte of a 4-bit type has the number at `k` in its lower half and the one at `k + 16` in its upper
//! half. Rows past `n` are zero.

use crate::error::KernelError;
use crate::tensor::buffer::HostBuffer;
use crate::weight::{QUANT_BLOCK, WeightSource, WeightType};

use super::CpuDevice;
use super::disjoint::Disjoint;
use super::simd::LANES;

mod decode;
mod float;
#[cfg(test)]
mod tests;

use float::PackFloats;

/// A packed weight in host memory.
#[derive(Debug)]
pub struct CpuWeight {
    panels: HostBuffer,
    layout: PanelLayout,
    n: usize,
}

/// Where things are in a panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct PanelLayout {
    pub(super) weight_type: WeightType,
    pub(super) k: usize,
    /// Bytes of the numbers themselves; scales begin here.
    pub(super) number_bytes: usize,
    /// Bytes of a panel.
    pub(super) panel_bytes: usize,
}

impl PanelLayout {
    fn new(weight_type: WeightType, k: usize) -> Self {
        let num_blocks = k / QUANT_BLOCK;
        let scale_bytes = num_blocks * LANES * 2;
        let (number_bytes, scale_bytes) = match weight_type {
            WeightType::F32 => (k * LANES * 4, 0),
            WeightType::F16 => (k * LANES * 2, 0),
            WeightType::BF16 => (k.div_ceil(2) * LANES * 4, 0),
            WeightType::Q4_0 => (k * LANES / 2, scale_bytes),
            WeightType::Q4_1 => (k * LANES / 2, 2 * scale_bytes),
            WeightType::Q8_0 => (k * LANES, scale_bytes),
            other => unreachable!("{other} is packed as a float; `PackedWeight::pack` saw to it"),
        };
        let panel_bytes = (number_bytes + scale_bytes).next_multiple_of(64);
        Self { weight_type, k, number_bytes, panel_bytes }
    }

    /// Bytes from a panel's start to its minima.
    pub(super) fn min_offset(&self) -> usize {
        self.number_bytes + self.k / QUANT_BLOCK * LANES * 2
    }
}

impl CpuWeight {
    /// Packs checked sources, see [`crate::PackedWeight::pack`].
    pub(crate) fn pack(
        cpu: &CpuDevice,
        sources: &[WeightSource<'_>],
        weight_type: WeightType,
        [n, k]: [usize; 2],
    ) -> Result<Self, KernelError> {
        let layout = PanelLayout::new(weight_type, k);
        let num_panels = n.div_ceil(LANES);
        let num_bytes = num_panels.saturating_mul(layout.panel_bytes);
        let mut panels = HostBuffer::zeroed(num_bytes)?;
        let rows: Vec<(WeightType, &[u8])> = sources
            .iter()
            .flat_map(|source| (0..source.shape()[0]).map(|row| (source.weight_type(), source.row(row))))
            .collect();
        let bytes = Disjoint::new(panels.as_mut_slice::<u8>());
        cpu.for_each_unit(num_panels, &|_, panel| {
            let start = panel * layout.panel_bytes;
            // SAFETY: units are panels, and panels do not overlap.
            let target = unsafe { bytes.part(start..start + layout.panel_bytes) };
            let first = panel * LANES;
            pack_panel(cpu, &layout, &rows[first..rows.len().min(first + LANES)], target);
        });
        Ok(Self { panels, layout, n })
    }

    /// Bytes of host memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.panels.as_slice::<u8>().len()
    }

    /// Rows: output columns of a product.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Where things are in a panel.
    pub(super) fn layout(&self) -> PanelLayout {
        self.layout
    }

    /// The bytes of all panels.
    pub(super) fn panels(&self) -> &[u8] {
        self.panels.as_slice()
    }

    /// Row `row` as f32: `[k]`.
    pub(crate) fn read_row(&self, row: usize, values: &mut [f32]) {
        let layout = &self.layout;
        let start = row / LANES * layout.panel_bytes;
        let panel = &self.panels.as_slice::<u8>()[start..start + layout.panel_bytes];
        decode::decode_lane(layout, panel, row % LANES, values);
    }
}

/// Writes up to sixteen rows as one panel.
fn pack_panel(cpu: &CpuDevice, layout: &PanelLayout, rows: &[(WeightType, &[u8])], panel: &mut [u8]) {
    let k = layout.k;
    match layout.weight_type {
        WeightType::F32 => cpu.isa.run(PackFloats::<float::F32>::new(k, rows, panel)),
        WeightType::F16 => cpu.isa.run(PackFloats::<float::F16>::new(k, rows, panel)),
        WeightType::BF16 => cpu.isa.run(PackFloats::<float::Bf16>::new(k, rows, panel)),
        _ => pack_blocks(layout, rows, panel),
    }
}

/// Moves quantised blocks, whose bits stay as they are in the file.
fn pack_blocks(layout: &PanelLayout, rows: &[(WeightType, &[u8])], panel: &mut [u8]) {
    let (head_bytes, quad_flip) = match layout.weight_type {
        WeightType::Q4_1 => (4, 0),
        WeightType::Q8_0 => (2, 0x80),
        _ => (2, 0),
    };
    let (numbers, scales) = panel.split_at_mut(layout.number_bytes);
    let num_blocks = layout.k / QUANT_BLOCK;
    for (lane, (source_type, bytes)) in rows.iter().enumerate() {
        for (block, encoded) in bytes.chunks_exact(source_type.block_bytes()).enumerate() {
            let (head, quads) = encoded.split_at(head_bytes);
            let num_quads = quads.len() / 4;
            for (quad, four) in quads.chunks_exact(4).enumerate() {
                let start = ((block * num_quads + quad) * LANES + lane) * 4;
                for (target, byte) in numbers[start..start + 4].iter_mut().zip(four) {
                    *target = byte ^ quad_flip;
                }
            }
            for (part, number) in head.chunks_exact(2).enumerate() {
                let start = ((part * num_blocks + block) * LANES + lane) * 2;
                scales[start..start + 2].copy_from_slice(number);
            }
        }
    }
}

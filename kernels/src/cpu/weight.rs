//! A weight in panels of sixteen rows, the layout that every product of the CPU reads.
//!
//! A panel holds sixteen rows of `[n, k]`, that is sixteen output columns, one for each lane. Rows past
//! `n` are zero. Sources that are computed with in types of their own become *parts*, each with its own
//! panels; a float packs all sources into one.

use crate::error::KernelError;
use crate::tensor::buffer::HostBuffer;
use crate::weight::block::BlockForm;
use crate::weight::{ComputeType, WeightSource, WeightType, decode_block, decode_numbers, encode_numbers};

use super::CpuDevice;
use super::disjoint::Disjoint;
use super::simd::LANES;

mod blocks;
mod float;
mod layout;
#[cfg(test)]
mod tests;

pub(super) use layout::{PanelLayout, VECTOR_BYTES};

use blocks::{PackBlocks, read_blocks};
use float::PackFloats;

/// A packed weight in host memory.
#[derive(Debug)]
pub struct CpuWeight {
    /// One below the other; never none.
    parts: Vec<WeightPart>,
}

/// Rows of one type.
#[derive(Debug)]
pub(super) struct WeightPart {
    panels: HostBuffer,
    layout: PanelLayout,
    first_row: usize,
    n: usize,
}

impl CpuWeight {
    /// Packs checked sources, see [`crate::PackedWeight::pack`].
    pub(crate) fn pack(
        cpu: &CpuDevice,
        sources: &[WeightSource<'_>],
        compute_type: ComputeType,
    ) -> Result<Self, KernelError> {
        let quantised_type = match compute_type {
            ComputeType::Quantised(what) => Some(what.cpu_type().ok_or(KernelError::GpuOnly { what })?),
            ComputeType::Stored | ComputeType::F32 | ComputeType::F16 | ComputeType::BF16 => None,
        };
        let packed_type = |source: &WeightSource<'_>| match compute_type {
            ComputeType::Stored => source.weight_type(),
            ComputeType::F32 => WeightType::F32,
            ComputeType::F16 => WeightType::F16,
            ComputeType::BF16 => WeightType::BF16,
            ComputeType::Quantised(_) => match (BlockForm::of(source.weight_type()), quantised_type) {
                (None, Some(quantised_type)) => quantised_type,
                _ => source.weight_type(),
            },
        };
        let mut parts = Vec::new();
        let mut first_row = 0;
        for sources in sources.chunk_by(|one, next| packed_type(one) == packed_type(next)) {
            let part = WeightPart::pack(cpu, sources, packed_type(&sources[0]), first_row)?;
            first_row += part.n;
            parts.push(part);
        }
        Ok(Self { parts })
    }

    /// Bytes of host memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.panels().len()).sum()
    }

    /// Rows: output columns of a product.
    pub(super) fn n(&self) -> usize {
        self.parts.iter().map(|part| part.n).sum()
    }

    /// Columns.
    pub(super) fn k(&self) -> usize {
        self.parts[0].layout.k
    }

    /// Rows of one type after the other.
    pub(super) fn parts(&self) -> &[WeightPart] {
        &self.parts
    }

    /// Row `row` as f32: `[k]`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub(crate) fn read_row(&self, row: usize, values: &mut [f32]) {
        let part = self.parts.partition_point(|part| part.first_row <= row) - 1;
        let part = &self.parts[part];
        part.read_row(row - part.first_row, values);
    }
}

impl WeightPart {
    /// Packs sources of equal `k`.
    fn pack(
        cpu: &CpuDevice,
        sources: &[WeightSource<'_>],
        weight_type: WeightType,
        first_row: usize,
    ) -> Result<Self, KernelError> {
        let [_, k] = sources[0].shape();
        let rows: Vec<(WeightType, &[u8])> = sources
            .iter()
            .flat_map(|source| (0..source.shape()[0]).map(|row| (source.weight_type(), source.row(row))))
            .collect();
        let n = rows.len();
        let layout = PanelLayout::new(weight_type, k);
        let num_panels = n.div_ceil(LANES);
        let mut panels = HostBuffer::zeroed(num_panels.saturating_mul(layout.panel_bytes))?;
        let bytes = Disjoint::new(panels.as_mut_slice::<u8>());
        cpu.for_each_unit(num_panels, &|_, panel| {
            let start = panel * layout.panel_bytes;
            // SAFETY: units are panels, and panels do not overlap.
            let target = unsafe { bytes.part(start..start + layout.panel_bytes) };
            let first = panel * LANES;
            let rows = &rows[first..n.min(first + LANES)];
            if BlockForm::of(weight_type).is_some() && rows.iter().any(|(stored, _)| *stored != weight_type) {
                let blocks = quantised_rows(weight_type, k, rows);
                let rows: Vec<_> = blocks.iter().map(|row| (weight_type, row.as_slice())).collect();
                pack_panel(cpu, layout, &rows, target);
            } else {
                pack_panel(cpu, layout, rows, target);
            }
        });
        Ok(Self { panels, layout, first_row, n })
    }

    /// The first of its rows in the whole weight.
    pub(super) fn first_row(&self) -> usize {
        self.first_row
    }

    /// Rows.
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

    fn read_row(&self, row: usize, values: &mut [f32]) {
        assert!(row < self.n, "row {row} of a part of {} rows", self.n);
        let layout = self.layout;
        let start = row / LANES * layout.panel_bytes;
        let panel = &self.panels()[start..start + layout.panel_bytes];
        match BlockForm::of(layout.weight_type) {
            None => float::read_lane(layout.weight_type, panel, row % LANES, values),
            Some(form) => read_blocks(layout, form, panel, row % LANES, |block_idx, block| {
                decode_block(form, block, &mut values[block_idx * form.len..][..form.len]);
            }),
        }
    }
}

/// Rows of `k` numbers of any type as blocks of a quantised one, of which `k` is a whole number.
fn quantised_rows(weight_type: WeightType, k: usize, rows: &[(WeightType, &[u8])]) -> Vec<Vec<u8>> {
    let mut numbers = vec![0.0; k];
    let row_bytes = k / weight_type.block_len() * weight_type.block_bytes();
    let quantised = rows.iter().map(|(stored, bytes)| {
        decode_numbers(*stored, bytes, &mut numbers);
        let mut blocks = vec![0; row_bytes];
        encode_numbers(weight_type, &numbers, &mut blocks);
        blocks
    });
    quantised.collect()
}

/// Writes up to sixteen rows as one panel.
fn pack_panel(cpu: &CpuDevice, layout: PanelLayout, rows: &[(WeightType, &[u8])], panel: &mut [u8]) {
    let k = layout.k;
    match layout.weight_type {
        WeightType::F32 => cpu.isa.run(PackFloats::<float::F32>::new(k, rows, panel)),
        WeightType::F16 => cpu.isa.run(PackFloats::<float::F16>::new(k, rows, panel)),
        WeightType::BF16 => cpu.isa.run(PackFloats::<float::Bf16>::new(k, rows, panel)),
        WeightType::Q4_0 => pack_blocks::<{ WeightType::Q4_0 as usize }>(cpu, layout, rows, panel),
        WeightType::Q4_1 => pack_blocks::<{ WeightType::Q4_1 as usize }>(cpu, layout, rows, panel),
        WeightType::Q5_0 => pack_blocks::<{ WeightType::Q5_0 as usize }>(cpu, layout, rows, panel),
        WeightType::Q5_1 => pack_blocks::<{ WeightType::Q5_1 as usize }>(cpu, layout, rows, panel),
        WeightType::Q8_0 => pack_blocks::<{ WeightType::Q8_0 as usize }>(cpu, layout, rows, panel),
        WeightType::Q2K => pack_blocks::<{ WeightType::Q2K as usize }>(cpu, layout, rows, panel),
        WeightType::Q3K => pack_blocks::<{ WeightType::Q3K as usize }>(cpu, layout, rows, panel),
        WeightType::Q4K => pack_blocks::<{ WeightType::Q4K as usize }>(cpu, layout, rows, panel),
        WeightType::Q5K => pack_blocks::<{ WeightType::Q5K as usize }>(cpu, layout, rows, panel),
        WeightType::Q6K => pack_blocks::<{ WeightType::Q6K as usize }>(cpu, layout, rows, panel),
    }
}

fn pack_blocks<const TYPE: usize>(
    cpu: &CpuDevice,
    layout: PanelLayout,
    rows: &[(WeightType, &[u8])],
    panel: &mut [u8],
) {
    cpu.isa.run(PackBlocks::<TYPE>::new(layout, rows, panel));
}

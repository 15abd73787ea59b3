//! Quantised blocks into panels, and out of them: bits move, nothing is rounded.

use half::f16;

use super::layout::{PanelLayout, VECTOR_BYTES};
use crate::cpu::isa::Task;
use crate::cpu::simd::{LANES, Simd};
use crate::weight::WeightType;
use crate::weight::block::{Block, BlockForm};

/// Quads of 32 numbers.
const QUADS: usize = 8;

/// Up to sixteen rows of type number `TYPE` become one panel of that type.
pub(super) struct PackBlocks<'a, const TYPE: usize> {
    layout: PanelLayout,
    rows: &'a [(WeightType, &'a [u8])],
    panel: &'a mut [u8],
}

impl<'a, const TYPE: usize> PackBlocks<'a, TYPE> {
    pub(super) fn new(layout: PanelLayout, rows: &'a [(WeightType, &'a [u8])], panel: &'a mut [u8]) -> Self {
        Self { layout, rows, panel }
    }
}

impl<const TYPE: usize> Task for PackBlocks<'_, TYPE> {
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let weight_type = const { WeightType::ALL[TYPE] };
        let mut block = Block::empty();
        for (lane, (_, bytes)) in self.rows.iter().enumerate() {
            for (block_idx, bytes) in bytes.chunks_exact(weight_type.block_bytes()).enumerate() {
                block.unpack(weight_type, bytes);
                LaneBlock::new(self.layout, weight_type, block_idx, lane).put(&block, self.panel);
            }
        }
    }
}

/// Reads one lane of a panel of a quantised type, block after block.
pub(super) fn read_blocks(
    layout: PanelLayout,
    form: BlockForm,
    panel: &[u8],
    lane: usize,
    mut read: impl FnMut(usize, &Block),
) {
    let mut block = Block::empty();
    for block_idx in 0..layout.k / form.len {
        LaneBlock::new(layout, layout.weight_type, block_idx, lane).take(panel, &mut block);
        read(block_idx, &block);
    }
}

/// The place of one row's block in its panel.
struct LaneBlock {
    layout: PanelLayout,
    form: BlockForm,
    block_idx: usize,
    lane: usize,
}

impl LaneBlock {
    #[inline(always)]
    fn new(layout: PanelLayout, weight_type: WeightType, block_idx: usize, lane: usize) -> Self {
        let form = BlockForm::of(weight_type).expect("only quantised types have blocks");
        Self { layout, form, block_idx, lane }
    }

    /// Writes the block.
    #[inline(always)]
    fn put(&self, block: &Block, panel: &mut [u8]) {
        let [lower, upper] = self.form.code_bits;
        for (run, codes) in block.codes[..self.form.len].as_chunks::<32>().0.iter().enumerate() {
            self.put_bits(run, codes, [0, lower], panel);
            if upper > 0 {
                self.put_bits(run, codes, [lower, upper], &mut panel[self.layout.planes.upper_bits..]);
            }
        }
        let planes = self.layout.planes;
        if self.form.has_group_scales() {
            for group in 0..self.num_groups() {
                let place = self.group_place(group);
                panel[planes.scales + place] = block.group_scales[group].cast_unsigned();
                if self.form.has_minima() {
                    panel[planes.minima + place] = block.group_minima[group].cast_unsigned();
                }
            }
        }
        let (scales, minima) = self.half_planes();
        self.put_half(block.scale, &mut panel[scales..]);
        if self.form.has_minima() {
            self.put_half(block.minimum, &mut panel[minima..]);
        }
    }

    /// Reads the block.
    fn take(&self, panel: &[u8], block: &mut Block) {
        let [lower, upper] = self.form.code_bits;
        for (run, codes) in block.codes[..self.form.len].as_chunks_mut::<32>().0.iter_mut().enumerate() {
            codes.fill(0);
            self.take_bits(run, codes, [0, lower], panel);
            if upper > 0 {
                self.take_bits(run, codes, [lower, upper], &panel[self.layout.planes.upper_bits..]);
            }
        }
        let planes = self.layout.planes;
        if self.form.has_group_scales() {
            for group in 0..self.num_groups() {
                let place = self.group_place(group);
                block.group_scales[group] = panel[planes.scales + place].cast_signed();
                if self.form.has_minima() {
                    block.group_minima[group] = panel[planes.minima + place].cast_signed();
                }
            }
        }
        let (scales, minima) = self.half_planes();
        block.scale = self.half(&panel[scales..]);
        if self.form.has_minima() {
            block.minimum = self.half(&panel[minima..]);
        }
    }

    /// Writes bits `first..first + count` of 32 codes into their plane.
    #[inline(always)]
    fn put_bits(&self, run: usize, codes: &[u8; 32], [first, count]: [usize; 2], plane: &mut [u8]) {
        let quads = codes.as_chunks::<4>().0;
        let mask = mask(count);
        for vector in 0..count {
            let mut bits = 0;
            for quad in (vector..QUADS).step_by(count) {
                bits |= (u32::from_le_bytes(quads[quad]) >> first & mask) << (quad / count * count);
            }
            let place = self.quad_place(run, vector, count);
            plane[place..place + 4].copy_from_slice(&bits.to_le_bytes());
        }
    }

    /// Reads bits `first..first + count` of 32 codes out of their plane.
    fn take_bits(&self, run: usize, codes: &mut [u8; 32], [first, count]: [usize; 2], plane: &[u8]) {
        for (quad, codes) in codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let place = self.quad_place(run, quad % count, count);
            for (code, byte) in codes.iter_mut().zip(&plane[place..place + 4]) {
                *code |= (byte >> (quad / count * count) & mask(count) as u8) << first;
            }
        }
    }

    /// Where this lane's four bytes of a vector of codes are in their plane.
    #[inline(always)]
    fn quad_place(&self, run: usize, vector: usize, count: usize) -> usize {
        let runs_before = self.block_idx * self.form.len / 32 + run;
        (runs_before * count + vector) * VECTOR_BYTES + self.lane * 4
    }

    #[inline(always)]
    fn num_groups(&self) -> usize {
        self.form.len / self.form.group
    }

    /// Where this lane's byte of a group is in its plane.
    #[inline(always)]
    fn group_place(&self, group: usize) -> usize {
        (self.block_idx * self.num_groups() + group) * LANES + self.lane
    }

    /// Where the planes of the blocks' own scales and minima begin.
    #[inline(always)]
    fn half_planes(&self) -> (usize, usize) {
        let planes = self.layout.planes;
        if self.form.has_group_scales() {
            (planes.block_scales, planes.block_minima)
        } else {
            (planes.scales, planes.minima)
        }
    }

    #[inline(always)]
    fn put_half(&self, value: f16, plane: &mut [u8]) {
        let place = (self.block_idx * LANES + self.lane) * 2;
        plane[place..place + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn half(&self, plane: &[u8]) -> f16 {
        let place = (self.block_idx * LANES + self.lane) * 2;
        f16::from_le_bytes([plane[place], plane[place + 1]])
    }
}

/// The lowest `count` bits of each of four bytes.
#[inline(always)]
fn mask(count: usize) -> u32 {
    (0xff >> (8 - count)) * 0x0101_0101
}

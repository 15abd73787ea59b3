//! Where things are in a panel: sixteen rows of a weight, one for each lane.
//!
//! Along a panel, `k` ascends:
//!
//! | type | panel |
//! |---|---|
//! | f32, f16 | `[k, 16]` |
//! | bf16 | `[k / 2, 16, 2]`: pairs along `k`, a last odd one filled up with zero |
//! | quantised | planes, one after the other, as below |
//!
//! 1. The lower bits of all codes: `[k / 32, bits, 16, 4]` bytes. The eight *quads* (four numbers along
//!    `k`) of 32 numbers share `bits` vectors of 64 bytes: quad `q` is in vector `q % bits`, at bit
//!    `q / bits * bits` of each byte.
//! 2. The upper bits, if there are any, in the same way.
//! 3. What groups are scaled by: `[k / group, 16]`, in f16; or in i8 where blocks of 256 share a scale.
//! 4. The groups' minima, if there are any, in the same way.
//! 5. The blocks' scales, and 6. their minima, each if there are any: `[k / 256, 16]` f16.
//!
//! So no type takes more memory than in its file by more than the scales' padding to whole bytes, and none
//! loses anything.

use crate::cpu::simd::LANES;
use crate::weight::WeightType;
use crate::weight::block::BlockForm;

/// Bytes of a vector of codes.
pub(in crate::cpu) const VECTOR_BYTES: usize = 64;
/// Numbers whose codes are kept together.
const CODE_RUN: usize = 32;

/// Where things are in a panel.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct PanelLayout {
    pub(in crate::cpu) weight_type: WeightType,
    pub(in crate::cpu) k: usize,
    /// Bytes of a panel.
    pub(in crate::cpu) panel_bytes: usize,
    /// Where each plane begins; nothing in a float's panel.
    pub(in crate::cpu) planes: Planes,
}

/// The first byte of each plane of a quantised panel, in bytes from the panel's start.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cpu) struct Planes {
    pub(in crate::cpu) upper_bits: usize,
    pub(in crate::cpu) scales: usize,
    pub(in crate::cpu) minima: usize,
    pub(in crate::cpu) block_scales: usize,
    pub(in crate::cpu) block_minima: usize,
}

impl PanelLayout {
    pub(super) fn new(weight_type: WeightType, k: usize) -> Self {
        let (planes, num_bytes) = match (weight_type, BlockForm::of(weight_type)) {
            (_, Some(form)) => Planes::new(form, k),
            (WeightType::F32, None) => (Planes::default(), k * LANES * 4),
            (WeightType::BF16, None) => (Planes::default(), k.div_ceil(2) * LANES * 4),
            (_, None) => (Planes::default(), k * LANES * 2),
        };
        Self { weight_type, k, panel_bytes: num_bytes.next_multiple_of(VECTOR_BYTES), planes }
    }
}

impl Planes {
    /// The planes of a panel, and the bytes that they take together.
    fn new(form: BlockForm, k: usize) -> (Self, usize) {
        let code_bytes = |bits: usize| k / CODE_RUN * bits * VECTOR_BYTES;
        let halves = k / form.len * LANES * 2;
        let (scale_bytes, block_bytes) =
            if form.has_group_scales() { (k / form.group * LANES, halves) } else { (halves, 0) };
        let (minimum_bytes, block_minimum_bytes) =
            if form.has_minima() { (scale_bytes, block_bytes) } else { (0, 0) };
        let upper_bits = code_bytes(form.code_bits[0]);
        let scales = upper_bits + code_bytes(form.code_bits[1]);
        let minima = scales + scale_bytes;
        let block_scales = minima + minimum_bytes;
        let block_minima = block_scales + block_bytes;
        let planes = Self { upper_bits, scales, minima, block_scales, block_minima };
        (planes, block_minima + block_minimum_bytes)
    }
}

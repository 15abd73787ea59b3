//! One block of a quantised type, taken apart: the same parts for every type.
//!
//! All types are a code of a few bits for each number, and for each group of numbers a scale, with
//! either one zero point for the whole type or a minimum for each group. A file interleaves and splits
//! these in a different way for each type; here they come out plain, without loss, so that nothing else
//! needs to know how a file keeps them.
//!
//! The loops are over arrays of fixed length, so that the compiler turns them into vector code.
//!
//! Source of the layouts: ggml's quantised types as the Python package `gguf` reads them.

use half::f16;

use super::WeightType;

/// Most numbers of a block.
pub(crate) const MAX_BLOCK: usize = 256;
/// Most groups of a block.
pub(crate) const MAX_GROUPS: usize = 16;

/// What is the same for every block of a type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockForm {
    /// Numbers of a block.
    pub(crate) len: usize,
    /// Numbers of a group.
    pub(crate) group: usize,
    /// Bits of a code: the lower ones, and the rest above them, so that each part divides a byte.
    pub(crate) code_bits: [usize; 2],
    /// What codes are counted from.
    pub(crate) offset: Offset,
}

/// What a code is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offset {
    /// A number is its group's scale times (its code less this).
    ZeroPoint(u8),
    /// A number is its group's scale times its code, plus its group's minimum.
    Minimum,
}

/// The parts of one block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// As many as the form's `len`; the rest is left over from other blocks.
    pub(crate) codes: [u8; MAX_BLOCK],
    /// Each group's scale is `scale` times this; 1 in types without.
    pub(crate) group_scales: [i8; MAX_GROUPS],
    /// Each group's minimum is `minimum` times this; 1 in types without.
    pub(crate) group_minima: [i8; MAX_GROUPS],
    /// The scale that the block's groups share.
    pub(crate) scale: f16,
    /// The minimum that they share, which is added: negated where the file's is subtracted.
    pub(crate) minimum: f16,
}

impl BlockForm {
    /// The form of a quantised type; none of a float.
    pub(crate) const fn of(weight_type: WeightType) -> Option<Self> {
        let (group, code_bits, offset) = match weight_type {
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => return None,
            WeightType::Q4_0 => (32, [4, 0], Offset::ZeroPoint(8)),
            WeightType::Q4_1 | WeightType::Q4K => (32, [4, 0], Offset::Minimum),
            WeightType::Q5_0 => (32, [4, 1], Offset::ZeroPoint(16)),
            WeightType::Q5_1 | WeightType::Q5K => (32, [4, 1], Offset::Minimum),
            WeightType::Q8_0 => (32, [8, 0], Offset::ZeroPoint(128)),
            WeightType::Q2K => (16, [2, 0], Offset::Minimum),
            WeightType::Q3K => (16, [2, 1], Offset::ZeroPoint(4)),
            WeightType::Q6K => (16, [4, 2], Offset::ZeroPoint(32)),
        };
        Some(Self { len: weight_type.block_len(), group, code_bits, offset })
    }

    /// Whether groups have integer scales of their own, besides what their block shares.
    pub(crate) const fn has_group_scales(self) -> bool {
        self.len > self.group
    }

    /// Whether groups have minima.
    pub(crate) const fn has_minima(self) -> bool {
        matches!(self.offset, Offset::Minimum)
    }
}

impl Block {
    /// Room for a block.
    #[inline(always)]
    pub(crate) fn empty() -> Self {
        Self {
            codes: [0; MAX_BLOCK],
            group_scales: [1; MAX_GROUPS],
            group_minima: [1; MAX_GROUPS],
            scale: f16::ZERO,
            minimum: f16::ZERO,
        }
    }

    /// Takes a block of a quantised type apart. One value must always be used for the same type.
    ///
    /// # Panics
    ///
    /// If the bytes are not those of one block of a quantised type.
    #[inline(always)]
    pub(crate) fn unpack(&mut self, weight_type: WeightType, bytes: &[u8]) {
        match weight_type {
            WeightType::Q4_0 => self.unpack_q4::<18, 2>(exactly(bytes)),
            WeightType::Q4_1 => self.unpack_q4::<20, 4>(exactly(bytes)),
            WeightType::Q5_0 => self.unpack_q5::<22, 2>(exactly(bytes)),
            WeightType::Q5_1 => self.unpack_q5::<24, 4>(exactly(bytes)),
            WeightType::Q8_0 => self.unpack_q8_0(exactly(bytes)),
            WeightType::Q2K => self.unpack_q2_k(exactly(bytes)),
            WeightType::Q3K => self.unpack_q3_k(exactly(bytes)),
            WeightType::Q4K => self.unpack_q4_k(exactly(bytes)),
            WeightType::Q5K => self.unpack_q5_k(exactly(bytes)),
            WeightType::Q6K => self.unpack_q6_k(exactly(bytes)),
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => {
                unreachable!("floats have no blocks; callers sort them out")
            }
        }
    }

    /// `HEAD` bytes of scale and perhaps minimum, 16 bytes of two codes each.
    #[inline(always)]
    fn unpack_q4<const SIZE: usize, const HEAD: usize>(&mut self, bytes: &[u8; SIZE]) {
        self.scale = half_at(bytes, 0);
        if HEAD == 4 {
            self.minimum = half_at(bytes, 2);
        }
        self.put_nibbles(0, exactly::<16>(&bytes[HEAD..]));
    }

    /// As [`Self::unpack_q4`], with the fifth bits of all 32 codes between head and codes.
    #[inline(always)]
    fn unpack_q5<const SIZE: usize, const HEAD: usize>(&mut self, bytes: &[u8; SIZE]) {
        self.scale = half_at(bytes, 0);
        if HEAD == 4 {
            self.minimum = half_at(bytes, 2);
        }
        self.put_nibbles(0, exactly::<16>(&bytes[HEAD + 4..]));
        let fifth_bits = u32::from_le_bytes(*exactly::<4>(&bytes[HEAD..HEAD + 4]));
        for (place, code) in self.codes[..32].iter_mut().enumerate() {
            *code |= ((fifth_bits >> place & 1) << 4) as u8;
        }
    }

    #[inline(always)]
    fn unpack_q8_0(&mut self, bytes: &[u8; 34]) {
        self.scale = half_at(bytes, 0);
        for (code, byte) in self.codes.iter_mut().zip(exactly::<32>(&bytes[2..])) {
            // A signed byte plus 128.
            *code = byte ^ 0x80;
        }
    }

    /// Each half of 128 numbers: 32 bytes, with bits 0 and 1 of each for the first 32 of them, and so on.
    #[inline(always)]
    fn unpack_q2_k(&mut self, bytes: &[u8; 84]) {
        for (place, byte) in bytes[..16].iter().enumerate() {
            self.group_scales[place] = (byte & 15).cast_signed();
            self.group_minima[place] = (byte >> 4).cast_signed();
        }
        self.put_pairs(exactly(&bytes[16..80]));
        self.scale = half_at(bytes, 80);
        self.minimum = -half_at(bytes, 82);
    }

    /// As `Q2_K`, with the third bits of number `l` of all eight runs of 32 in byte `l` in front.
    #[inline(always)]
    fn unpack_q3_k(&mut self, bytes: &[u8; 110]) {
        self.put_pairs(exactly(&bytes[32..96]));
        add_bits::<1, 2>(&mut self.codes, exactly(&bytes[..32]));
        let scales = &bytes[96..108];
        for place in 0..16 {
            let low = if place < 8 { scales[place] & 15 } else { scales[place - 8] >> 4 };
            let high = scales[8 + place % 4] >> (2 * (place / 4)) & 3;
            self.group_scales[place] = (low | high << 4).cast_signed() - 32;
        }
        self.scale = half_at(bytes, 108);
    }

    #[inline(always)]
    fn unpack_q4_k(&mut self, bytes: &[u8; 144]) {
        self.put_k_head(exactly(&bytes[..16]));
        for (run, bytes) in bytes[16..].as_chunks::<32>().0.iter().enumerate() {
            self.put_nibbles(64 * run, bytes);
        }
    }

    /// As `Q4_K`, with the fifth bits of number `l` of all eight runs of 32 in byte `l`.
    #[inline(always)]
    fn unpack_q5_k(&mut self, bytes: &[u8; 176]) {
        self.put_k_head(exactly(&bytes[..16]));
        for (run, bytes) in bytes[48..].as_chunks::<32>().0.iter().enumerate() {
            self.put_nibbles(64 * run, bytes);
        }
        add_bits::<1, 4>(&mut self.codes, exactly(&bytes[16..48]));
    }

    /// Each half of 128 numbers: 64 bytes of nibbles; two more bits for each in 32 bytes, as in `Q2_K`.
    #[inline(always)]
    fn unpack_q6_k(&mut self, bytes: &[u8; 210]) {
        for half in 0..2 {
            self.put_nibbles(128 * half, exactly::<64>(&bytes[64 * half..64 * half + 64]));
            let codes = &mut self.codes[128 * half..128 * half + 128];
            add_bits::<2, 4>(codes, exactly(&bytes[128 + 32 * half..160 + 32 * half]));
        }
        for (scale, byte) in self.group_scales.iter_mut().zip(&bytes[192..208]) {
            *scale = byte.cast_signed();
        }
        self.scale = half_at(bytes, 208);
    }

    /// The head of `Q4_K` and `Q5_K`: scale, minimum, and eight 6-bit scales and minima in 12 bytes. Of
    /// the last four of each, the upper two bits stand above the first four.
    #[inline(always)]
    fn put_k_head(&mut self, bytes: &[u8; 16]) {
        self.scale = half_at(bytes, 0);
        self.minimum = -half_at(bytes, 2);
        let (scales, minima, both) = (&bytes[4..8], &bytes[8..12], &bytes[12..16]);
        for place in 0..4 {
            self.group_scales[place] = (scales[place] & 63).cast_signed();
            self.group_minima[place] = (minima[place] & 63).cast_signed();
            self.group_scales[place + 4] = (both[place] & 15 | scales[place] >> 6 << 4).cast_signed();
            self.group_minima[place + 4] = (both[place] >> 4 | minima[place] >> 6 << 4).cast_signed();
        }
    }

    /// Twice `SIZE` codes from `start` on: lower nibbles, then upper ones.
    #[inline(always)]
    fn put_nibbles<const SIZE: usize>(&mut self, start: usize, bytes: &[u8; SIZE]) {
        let (low, high) = self.codes[start..start + 2 * SIZE].split_at_mut(SIZE);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = byte & 15;
            *high = byte >> 4;
        }
    }

    /// 256 codes of two bits.
    #[inline(always)]
    fn put_pairs(&mut self, bytes: &[u8; 64]) {
        self.codes.fill(0);
        for (half, bytes) in bytes.as_chunks::<32>().0.iter().enumerate() {
            add_bits::<2, 0>(&mut self.codes[128 * half..128 * half + 128], bytes);
        }
    }
}

/// Adds to each run of 32 codes the next `COUNT` bits of each byte, from the lowest on, at bit `PLACE`.
///
/// A shift by the same number each time is vector code; one by the run's number would not be.
#[inline(always)]
fn add_bits<const COUNT: usize, const PLACE: usize>(codes: &mut [u8], bytes: &[u8; 32]) {
    let mut rest = *bytes;
    for codes in codes.as_chunks_mut::<32>().0 {
        for (code, rest) in codes.iter_mut().zip(&mut rest) {
            *code |= (*rest & ((1 << COUNT) - 1)) << PLACE;
            *rest >>= COUNT;
        }
    }
}

/// The bytes as an array, of which they must be the bytes.
#[inline(always)]
fn exactly<const SIZE: usize>(bytes: &[u8]) -> &[u8; SIZE] {
    bytes.try_into().expect("rows are cut into whole blocks")
}

#[inline(always)]
fn half_at(bytes: &[u8], place: usize) -> f16 {
    f16::from_le_bytes([bytes[place], bytes[place + 1]])
}

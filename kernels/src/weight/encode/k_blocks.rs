//! Encodes blocks of 256 numbers, whose groups of 16 or 32 have integer scales of their own.

use half::f16;

use crate::weight::WeightType;

/// Numbers of a block.
const BLOCK: usize = 256;
/// Most groups of a block.
const MAX_GROUPS: usize = 16;

/// What a type's codes and scales are.
struct Form {
    /// Numbers that share an integer scale.
    group: usize,
    /// The largest code.
    max_code: u8,
    /// The largest integer scale.
    max_scale: u8,
    /// The code of zero; absent if each group has a minimum.
    zero: Option<u8>,
}

/// A block before its bits are put where the type wants them.
struct Levels {
    codes: [u8; BLOCK],
    scales: [u8; MAX_GROUPS],
    minima: [u8; MAX_GROUPS],
    scale: f16,
    minimum: f16,
}

/// Encodes one block of a type of 256 numbers; `out` is zeroed.
pub(super) fn encode(weight_type: WeightType, values: &[f32], out: &mut [u8]) {
    let form = |group, max_code, max_scale, zero| Form { group, max_code, max_scale, zero };
    match weight_type {
        WeightType::Q2K => put_q2_k(&levels(&form(16, 3, 15, None), values), out),
        WeightType::Q3K => put_q3_k(&levels(&form(16, 7, 31, Some(4)), values), out),
        WeightType::Q4K => put_q4_k(&levels(&form(32, 15, 63, None), values), out),
        WeightType::Q5K => put_q5_k(&levels(&form(32, 31, 63, None), values), out),
        WeightType::Q6K => put_q6_k(&levels(&form(16, 63, 127, Some(32)), values), out),
        other => unreachable!("{other} has no blocks of 256 numbers; the only caller sorts them out"),
    }
}

/// Rounds a block: the widest group takes the largest integer scale.
fn levels(form: &Form, values: &[f32]) -> Levels {
    let groups = || values.chunks(form.group);
    let least = |group: &[f32]| group.iter().copied().fold(0.0, f32::min);
    let width = |group: &[f32]| match form.zero {
        None => (group.iter().copied().fold(0.0, f32::max) - least(group)) / f32::from(form.max_code),
        Some(zero) => group.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())) / f32::from(zero),
    };
    let max_scale = f32::from(form.max_scale);
    let scale = f16::from_f32(groups().map(width).fold(0.0, f32::max) / max_scale);
    let minimum = f16::from_f32(-groups().map(least).fold(0.0, f32::min) / max_scale);
    let mut levels =
        Levels { codes: [0; BLOCK], scales: [0; MAX_GROUPS], minima: [0; MAX_GROUPS], scale, minimum };
    let level = |value: f32, step: f32, most: u8| {
        if step == 0.0 { 0.0 } else { (value / step).round().clamp(-f32::from(most), f32::from(most)) }
    };
    let (scale, minimum) = (scale.to_f32(), minimum.to_f32());
    for (place, (group, codes)) in groups().zip(levels.codes.chunks_mut(form.group)).enumerate() {
        levels.scales[place] = level(width(group), scale, form.max_scale) as u8;
        levels.minima[place] = level(-least(group), minimum, form.max_scale) as u8;
        let step = scale * f32::from(levels.scales[place]);
        let lift = match form.zero {
            None => minimum * f32::from(levels.minima[place]),
            Some(zero) => step * f32::from(zero),
        };
        for (code, value) in codes.iter_mut().zip(group) {
            *code = level(value + lift, step, form.max_code).max(0.0) as u8;
        }
    }
    levels
}

fn put_q2_k(levels: &Levels, out: &mut [u8]) {
    for (byte, (scale, minimum)) in out.iter_mut().zip(levels.scales.iter().zip(&levels.minima)) {
        *byte = scale | minimum << 4;
    }
    for (i, code) in levels.codes.iter().enumerate() {
        out[16 + 32 * (i / 128) + i % 32] |= code << (2 * (i % 128 / 32));
    }
    put_half(out, 80, levels.scale);
    put_half(out, 82, levels.minimum);
}

fn put_q3_k(levels: &Levels, out: &mut [u8]) {
    for (i, code) in levels.codes.iter().enumerate() {
        out[i % 32] |= (code >> 2) << (i / 32);
        out[32 + 32 * (i / 128) + i % 32] |= (code & 3) << (2 * (i % 128 / 32));
    }
    for (place, scale) in levels.scales.iter().enumerate() {
        let raised = scale + 32;
        out[96 + place % 8] |= (raised & 15) << (4 * (place / 8));
        out[104 + place % 4] |= (raised >> 4) << (2 * (place / 4));
    }
    put_half(out, 108, levels.scale);
}

fn put_q4_k(levels: &Levels, out: &mut [u8]) {
    put_head(levels, out);
    put_nibbles(levels, &mut out[16..]);
}

fn put_q5_k(levels: &Levels, out: &mut [u8]) {
    put_head(levels, out);
    for (i, code) in levels.codes.iter().enumerate() {
        out[16 + i % 32] |= (code >> 4) << (i / 32);
    }
    put_nibbles(levels, &mut out[48..]);
}

fn put_q6_k(levels: &Levels, out: &mut [u8]) {
    for (i, code) in levels.codes.iter().enumerate() {
        let (half, place) = (i / 128, i % 128);
        out[64 * half + place % 64] |= (code & 15) << (4 * (place / 64));
        out[128 + 32 * half + place % 32] |= (code >> 4) << (2 * (place / 32));
    }
    out[192..208].copy_from_slice(&levels.scales);
    put_half(out, 208, levels.scale);
}

/// The head of `Q4_K` and `Q5_K`.
fn put_head(levels: &Levels, out: &mut [u8]) {
    put_half(out, 0, levels.scale);
    put_half(out, 2, levels.minimum);
    let packed = &mut out[4..16];
    for place in 0..4 {
        packed[place] |= levels.scales[place];
        packed[4 + place] |= levels.minima[place];
        let (scale, minimum) = (levels.scales[4 + place], levels.minima[4 + place]);
        packed[8 + place] = scale & 15 | (minimum & 15) << 4;
        packed[place] |= scale >> 4 << 6;
        packed[4 + place] |= minimum >> 4 << 6;
    }
}

/// The lower four bits: 32 bytes for each 64 codes.
fn put_nibbles(levels: &Levels, out: &mut [u8]) {
    for (i, code) in levels.codes.iter().enumerate() {
        out[32 * (i / 64) + i % 32] |= (code & 15) << (4 * (i % 64 / 32));
    }
}

fn put_half(out: &mut [u8], at: usize, value: f16) {
    out[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

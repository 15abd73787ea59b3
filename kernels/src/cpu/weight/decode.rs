//! Numbers out of a file's rows, and out of one lane of a panel.

use half::{bf16, f16};

use crate::weight::{QUANT_BLOCK, WeightType};

use super::{LANES, PanelLayout};

/// Reads one lane of a panel, that is one row of the weight, as f32.
pub(super) fn decode_lane(layout: &PanelLayout, panel: &[u8], lane: usize, values: &mut [f32]) {
    let half_at = |index: usize| [panel[2 * index], panel[2 * index + 1]];
    match layout.weight_type {
        WeightType::F32 => {
            for (value, numbers) in values.iter_mut().zip(panel.chunks_exact(LANES * 4)) {
                *value = f32::from_le_bytes(numbers.as_chunks().0[lane]);
            }
        }
        WeightType::F16 => {
            for (index, value) in values.iter_mut().enumerate() {
                *value = f16::from_le_bytes(half_at(index * LANES + lane)).to_f32();
            }
        }
        WeightType::BF16 => {
            for (index, value) in values.iter_mut().enumerate() {
                let place = (index / 2 * LANES + lane) * 2 + index % 2;
                *value = bf16::from_le_bytes(half_at(place)).to_f32();
            }
        }
        _ => {
            for (block, values) in values.chunks_exact_mut(QUANT_BLOCK).enumerate() {
                decode_lane_block(layout, panel, (block, lane), values);
            }
        }
    }
}

fn decode_lane_block(layout: &PanelLayout, panel: &[u8], (block, lane): (usize, usize), values: &mut [f32]) {
    let half_at = |start: usize| {
        let place = start + (block * LANES + lane) * 2;
        f16::from_le_bytes([panel[place], panel[place + 1]]).to_f32()
    };
    let quads = if layout.weight_type == WeightType::Q8_0 { 8 } else { 4 };
    let byte = |index: usize| panel[((block * quads + index / 4 % quads) * LANES + lane) * 4 + index % 4];
    let scale = half_at(layout.number_bytes);
    for (index, value) in values.iter_mut().enumerate() {
        let nibble = if index < 16 { byte(index) & 15 } else { byte(index) >> 4 };
        *value = match layout.weight_type {
            WeightType::Q8_0 => scale * (f32::from(byte(index)) - 128.0),
            WeightType::Q4_1 => scale * f32::from(nibble) + half_at(layout.min_offset()),
            _ => scale * (f32::from(nibble) - 8.0),
        };
    }
}

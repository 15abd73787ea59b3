//! Cosines and sines of every position, computed once for each kind of layer.

use spillway_kernels::{DType, Device, Tensor};

use crate::error::ModelError;
use crate::spec::Rope;

/// `[max_positions, rotary_dim / 2]` each.
#[derive(Debug)]
pub(super) struct RopeTable {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
}

impl RopeTable {
    pub(super) fn new(device: &Device, rope: &Rope, max_positions: usize) -> Result<Self, ModelError> {
        let frequencies = rope.inverse_frequencies(max_positions);
        let factor = rope.attention_factor();
        let mut cos = Vec::with_capacity(max_positions * frequencies.len());
        let mut sin = Vec::with_capacity(max_positions * frequencies.len());
        for position in 0..max_positions {
            for frequency in &frequencies {
                // The angle is rounded to f32 as in the reference; of that angle the exact functions are taken.
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32 * factor);
                sin.push(angle.sin() as f32 * factor);
            }
        }
        let shape = [max_positions, frequencies.len()];
        Ok(Self {
            cos: Tensor::from_f32(device, DType::F32, shape, &cos)?,
            sin: Tensor::from_f32(device, DType::F32, shape, &sin)?,
        })
    }
}

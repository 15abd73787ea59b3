//! Cosines and sines of every position, computed once.

use spillway_kernels::ops::{RopeArguments, RopeStyle};
use spillway_kernels::{DType, Device, Tensor};

use crate::error::ModelError;
use crate::spec::DecoderSpec;

/// `[max_positions, head_dim / 2]` each.
#[derive(Debug)]
pub(super) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    pub(super) fn new(device: &Device, spec: &DecoderSpec, max_positions: usize) -> Result<Self, ModelError> {
        let frequencies = spec.rope.inverse_frequencies(spec.head_dim);
        let mut cos = Vec::with_capacity(max_positions * frequencies.len());
        let mut sin = Vec::with_capacity(max_positions * frequencies.len());
        for position in 0..max_positions {
            for frequency in &frequencies {
                // The angle is rounded to f32 as in the reference; of that angle the exact functions are taken.
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let shape = [max_positions, frequencies.len()];
        Ok(Self {
            cos: Tensor::from_f32(device, DType::F32, shape, &cos)?,
            sin: Tensor::from_f32(device, DType::F32, shape, &sin)?,
        })
    }

    pub(super) fn arguments(&self, num_heads: usize) -> RopeArguments<'_> {
        RopeArguments { cos: self.cos.view(), sin: self.sin.view(), style: RopeStyle::Halves, num_heads }
    }
}

//! `--weights dummy`: random weights of any size and type, so that speed can be measured without a download.
//!
//! Matrices are normal with standard deviation 0.02, norms are one, biases zero. Each tensor depends on the seed and its name alone,
//! whatever order tensors are asked for in. Rows of large ones repeat, so that a model of billions of parameters is there in seconds.

use std::borrow::Cow;

use spillway_kernels::WeightType;
use spillway_kernels::weight::encode;

use crate::sampling::philox4x32_10;
use crate::tensor_source::TensorData;

/// The usual standard deviation of a fresh model.
const STANDARD_DEVIATION: f32 = 0.02;
/// Rows are made in groups of about this many numbers, each by one thread.
const NUMBERS_PER_GROUP: usize = 1 << 16;
/// Rows are different up to about this many numbers; more of them repeat the first ones.
const DISTINCT_NUMBERS: usize = 1 << 22;

/// Weights made of a seed.
#[derive(Debug)]
pub(crate) struct DummyWeights {
    seed: u64,
    weight_type: WeightType,
    /// Normal numbers at evenly spaced probabilities: one of them by 8 random bits each would be too coarse, so 12.
    quantiles: Vec<f32>,
}

const QUANTILE_BITS: u32 = 12;

impl DummyWeights {
    pub(crate) fn new(seed: u64, weight_type: WeightType) -> Self {
        let num_quantiles = 1_u32 << QUANTILE_BITS;
        let quantiles = (0..num_quantiles)
            .map(|i| {
                let probability = (f64::from(i) + 0.5) / f64::from(num_quantiles);
                (normal_quantile(probability) * f64::from(STANDARD_DEVIATION)) as f32
            })
            .collect();
        Self { seed, weight_type, quantiles }
    }

    /// The type of the matrices.
    pub(crate) fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// A tensor of this name and shape. Rows that are no whole number of blocks are not quantised.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> TensorData<'static> {
        if shape.len() < 2 {
            let value = if name.ends_with("bias") { 0.0_f32 } else { 1.0 };
            let values = value.to_le_bytes().repeat(shape.iter().product());
            return TensorData {
                shape: shape.to_vec(),
                weight_type: WeightType::F32,
                bytes: Cow::Owned(values),
            };
        }
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let num_rows: usize = shape.iter().rev().skip(1).product();
        let (weight_type, row_bytes) = match self.weight_type.row_bytes(columns) {
            Some(row_bytes) => (self.weight_type, row_bytes),
            None => (WeightType::F32, columns * 4),
        };
        let key = self.key(name);
        let mut bytes = vec![0; num_rows * row_bytes];
        let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let distinct_rows = num_rows.min((DISTINCT_NUMBERS / columns).max(1));
        let (distinct, repeated) = bytes.split_at_mut(distinct_rows * row_bytes);
        let rows_per_group = (NUMBERS_PER_GROUP / columns).max(1);
        let groups_per_thread = distinct_rows.div_ceil(rows_per_group).div_ceil(num_threads).max(1);
        std::thread::scope(|scope| {
            let part_rows = groups_per_thread * rows_per_group;
            for (part_idx, part) in distinct.chunks_mut(part_rows * row_bytes).enumerate() {
                scope.spawn(move || {
                    let mut values = vec![0.0; rows_per_group * columns];
                    for (group_idx, group) in part.chunks_mut(rows_per_group * row_bytes).enumerate() {
                        let first_row = part_idx * part_rows + group_idx * rows_per_group;
                        let values = &mut values[..group.len() / row_bytes * columns];
                        self.fill(key, (first_row * columns) as u64, values);
                        encode(weight_type, values, group).expect("a group's bytes are whole rows");
                    }
                });
            }
        });
        let copies_per_thread = repeated.len().div_ceil(distinct.len().max(1)).div_ceil(num_threads).max(1);
        std::thread::scope(|scope| {
            let distinct = &*distinct;
            for part in repeated.chunks_mut((copies_per_thread * distinct.len()).max(1)) {
                scope.spawn(move || {
                    for copy in part.chunks_mut(distinct.len()) {
                        copy.copy_from_slice(&distinct[..copy.len()]);
                    }
                });
            }
        });
        TensorData { shape: shape.to_vec(), weight_type, bytes: Cow::Owned(bytes) }
    }

    /// Normal numbers `first..first + values.len()` of the tensor with this key.
    fn fill(&self, key: [u32; 2], first: u64, values: &mut [f32]) {
        const PER_BLOCK: u64 = 10;
        let mask = (1_u128 << QUANTILE_BITS) - 1;
        let mut index = first;
        let mut rest = values;
        while !rest.is_empty() {
            let block = index / PER_BLOCK;
            let words = philox4x32_10([block as u32, (block >> 32) as u32, 0, 0], key);
            let bits = words.iter().fold(0_u128, |bits, &word| bits << 32 | u128::from(word));
            let skip = (index % PER_BLOCK) as usize;
            let count = rest.len().min(PER_BLOCK as usize - skip);
            let (now, later) = rest.split_at_mut(count);
            for (offset, value) in now.iter_mut().enumerate() {
                let shift = (skip + offset) as u32 * QUANTILE_BITS;
                *value = self.quantiles[(bits >> shift & mask) as usize];
            }
            rest = later;
            index += count as u64;
        }
    }

    /// A key of its own for each name, from the seed: FNV-1a, 64 bits.
    fn key(&self, name: &str) -> [u32; 2] {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.seed.to_le_bytes().iter().chain(name.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        [hash as u32, (hash >> 32) as u32]
    }
}

/// The number below which a standard normal one falls with this probability, within 4.5e-4.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", formula 26.2.23.
fn normal_quantile(probability: f64) -> f64 {
    let tail = probability.min(1.0 - probability);
    let t = (-2.0 * tail.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let magnitude = t - numerator / denominator;
    if probability < 0.5 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_promised_spread_in_every_type() {
        for weight_type in WeightType::ALL {
            let values = DummyWeights::new(3, weight_type).tensor("w", &[300, 256]).to_f32();
            let count = values.len() as f64;
            let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
            let square = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
            // Two and three bits round coarsely, and the latter have no code for the largest positive number.
            let is_coarse = matches!(weight_type, WeightType::Q2K | WeightType::Q3K);
            let tolerance = if is_coarse { 2e-3 } else { 4e-4 };
            assert!(mean.abs() < tolerance, "{weight_type}: mean {mean}");
            assert!((square.sqrt() - 0.02).abs() < tolerance, "{weight_type}: deviation {}", square.sqrt());
        }
    }

    #[test]
    fn a_tensor_depends_on_seed_and_name_only() {
        let weights = |seed| DummyWeights::new(seed, WeightType::F32);
        let one = weights(1).tensor("a", &[70, 1000]);
        let is_same = |seed, name| weights(seed).tensor(name, &[70, 1000]).bytes == one.bytes;
        assert_eq!([is_same(1, "a"), is_same(1, "b"), is_same(2, "a")], [true, false, false]);
        // Whatever part a thread begins with, the numbers are those of one long run.
        let mut values = vec![0.0; 70_000];
        let dummy = weights(1);
        dummy.fill(dummy.key("a"), 0, &mut values);
        assert_eq!(one.to_f32(), values);
    }

    #[test]
    fn rows_of_large_tensors_repeat() {
        let columns = DISTINCT_NUMBERS / 4;
        let values = DummyWeights::new(1, WeightType::F32).tensor("w", &[11, columns]).to_f32();
        let rows: Vec<&[f32]> = values.chunks(columns).collect();
        assert!(rows[..4].windows(2).all(|pair| pair[0] != pair[1]));
        assert!((4..11).all(|row_idx| rows[row_idx] == rows[row_idx % 4]));
    }

    #[test]
    fn norms_are_one_biases_zero_and_rows_without_whole_blocks_stay_f32() {
        let dummy = DummyWeights::new(1, WeightType::Q4_0);
        assert_eq!(dummy.tensor("norm", &[3]).to_f32(), [1.0; 3]);
        assert_eq!(dummy.tensor("q.bias", &[3]).to_f32(), [0.0; 3]);
        assert_eq!(dummy.tensor("w", &[2, 33]).weight_type, WeightType::F32);
    }
}

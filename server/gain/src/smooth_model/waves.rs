//! Waves in random directions: sums of many of them can follow any smooth function.
//!
//! The product of two prompts' waves is about `exp(-|a - b|^2 / (2 * NUM_LEXICAL)) / 2`, a bell over their distance.
//! Source: Rahimi and Recht, "Random features for large-scale kernel machines", NIPS 2007.

use crate::random::Random;
use crate::reading::NUM_LEXICAL;

/// How many waves there are.
pub(crate) const NUM_WAVES: usize = 512;

/// Decides the waves. They are part of the meaning of a model's bytes, but not in them.
const SEED: u64 = 0x7761_7665;

/// Steps of a number between 0 and 1.
const UNIT: u64 = 1 << 24;

/// Directions, one after another, and where along them each wave begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waves {
    /// `[NUM_WAVES, NUM_LEXICAL]`.
    frequencies: Vec<f32>,
    /// `[NUM_WAVES]`.
    phases: Vec<f32>,
}

impl Waves {
    pub(super) fn new() -> Self {
        let mut random = Random::new(SEED, 0);
        let mut unit = || (random.next() % UNIT) as f32 / UNIT as f32;
        let deviation = (1.0 / NUM_LEXICAL as f32).sqrt();
        // Twelve numbers between 0 and 1 have a variance of 1 together, and their sum is nearly normal.
        let mut normal = || (0..12).map(|_| unit()).sum::<f32>() - 6.0;
        let frequencies = (0..NUM_WAVES * NUM_LEXICAL).map(|_| normal() * deviation).collect();
        let phases = (0..NUM_WAVES).map(|_| unit() * std::f32::consts::TAU).collect();
        Self { frequencies, phases }
    }

    /// The height of every wave at `place`.
    pub(super) fn values(&self, place: &[f32; NUM_LEXICAL]) -> Vec<f32> {
        let height = (1.0 / NUM_WAVES as f32).sqrt();
        let value = |(frequencies, phase): (&[f32], &f32)| {
            let along: f32 = frequencies.iter().zip(place).map(|(frequency, at)| frequency * at).sum();
            height * (along + phase).cos()
        };
        self.frequencies.chunks_exact(NUM_LEXICAL).zip(&self.phases).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_waves_are_a_bell_over_the_distance() {
        let waves = Waves::new();
        let from = waves.values(&[0.25; NUM_LEXICAL]);
        for shift in [0.0_f32, 0.5, 1.0, 2.0] {
            let to = waves.values(&[0.25 + shift; NUM_LEXICAL]);
            let product: f32 = from.iter().zip(&to).map(|(a, b)| a * b).sum();
            let bell = (-shift * shift / 2.0).exp() / 2.0;
            assert!((product - bell).abs() < 0.07, "shift {shift}: {product}, expected {bell}");
        }
    }
}

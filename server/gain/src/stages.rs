//! The stages of a score: terms, a forest over their predictions and the surface, and the smooth model.

use crate::forest::Forest;
use crate::reading::{NUM_LEXICAL, Reading};
use crate::smooth_model::SmoothModel;
use crate::word_model::{Pair, WordModel};

/// Features of the forest: the surface, the two predictions of the word model, and their difference.
pub(crate) const NUM_FEATURES: usize = NUM_LEXICAL + 3;

/// How much of the smooth model's gain is added to the forest's. From 0.3 to 1 the figures hardly change.
const SMOOTH_SHARE: f32 = 0.6;

/// All that is learned of prompts, but for what a score is worth.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages {
    pub(crate) words: WordModel,
    pub(crate) smooth: SmoothModel,
    pub(crate) forest: Forest,
}

impl Stages {
    /// The score of a prompt, before it is calibrated.
    pub(crate) fn score(&self, reading: &Reading) -> f32 {
        let [weak, strong, gain] = self.words.predict(&reading.terms);
        let smooth = gain + self.smooth.predict(&reading.lexical);
        self.forest.predict(&features(reading, [weak, strong])) + SMOOTH_SHARE * smooth
    }
}

/// What the forest sees of a prompt.
pub(crate) fn features(reading: &Reading, predicted: Pair) -> [f32; NUM_FEATURES] {
    let mut features = [0.0; NUM_FEATURES];
    features[..NUM_LEXICAL].copy_from_slice(&reading.lexical);
    features[NUM_LEXICAL..].copy_from_slice(&[predicted[0], predicted[1], predicted[1] - predicted[0]]);
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smooth_model::{NUM_WAVES, Surface};

    #[test]
    fn a_part_of_the_smooth_gain_is_added_to_the_forests() {
        let reading = Reading::new("How many apples are left?");
        let stages = |weight: f32| {
            let surface = Surface::of(&[&reading.lexical]);
            Stages {
                words: WordModel::new([0.5, 0.75, 0.25], 2048, &[]).expect("nothing ascends"),
                smooth: SmoothModel::new(surface, vec![weight; NUM_WAVES]).expect("one weight a wave"),
                forest: Forest { mean: 0.125, trees: vec![] },
            }
        };
        let without_waves = stages(0.0).score(&reading);
        assert!((without_waves - (0.125 + SMOOTH_SHARE * 0.25)).abs() < 1e-6, "{without_waves}");
        let waves = stages(2.0).smooth.predict(&reading.lexical);
        let found = stages(2.0).score(&reading) - without_waves;
        assert!(waves.abs() > 1e-3 && (found - SMOOTH_SHARE * waves).abs() < 1e-5, "{found} of {waves}");
    }
}

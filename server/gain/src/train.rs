//! Trains a model, and scores every example by models that have not seen it.
//!
//! First the [word model](crate::word_model) learns from terms who is right. Then a forest learns the gain from the
//! surface of the prompt and from the word model's predictions, which for this purpose come from word models that have
//! not seen the example: else the forest would trust them too much. Beside them the
//! [smooth model](crate::smooth_model) learns the gain from terms and surface at once.
//!
//! Everything follows from the examples, their order and the seed; there is no clock and no thread in it.

mod fit;
mod term_rows;

use crate::calibration::{Calibration, Line};
use crate::error::GainError;
use crate::example::Example;
use crate::model::GainModel;
use crate::random::mix;
use crate::reading::Reading;
use fit::Training;

/// Fewest examples a training takes: with fewer, the held-out figures say nothing.
pub const MIN_EXAMPLES: usize = 100;

/// Most examples a training takes: about 4 GB of memory and an hour.
pub const MAX_EXAMPLES: usize = 500_000;

/// What a user may choose of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainSettings {
    /// Decides folds and forests.
    pub seed: u64,
    /// How often all examples are scored by models that have not seen them, each time with other folds. At least once.
    pub num_repeats: usize,
    /// In how many folds the examples are cut for that, at least 2.
    pub num_folds: usize,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self { seed: 1, num_repeats: 1, num_folds: 5 }
    }
}

/// What a training gives.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The model, trained on all examples.
    pub model: GainModel,
    /// For every repeat the scores of all examples, each by a model that has not seen it nor another of the same prompt.
    pub held_out: Vec<Vec<f32>>,
}

/// Trains on `examples`.
///
/// # Errors
///
/// [`GainError::NumExamples`] if there are too few or too many.
pub fn train(examples: &[Example], settings: TrainSettings) -> Result<Trained, GainError> {
    let num = examples.len();
    if !(MIN_EXAMPLES..=MAX_EXAMPLES).contains(&num) {
        return Err(GainError::NumExamples { num, min: MIN_EXAMPLES, max: MAX_EXAMPLES });
    }
    let readings: Vec<Reading> = examples.iter().map(|example| Reading::new(&example.prompt)).collect();
    let training = Training { examples, readings: &readings };
    let mut held_out: Vec<Vec<f32>> = (0..settings.num_repeats.max(1) as u64)
        .map(|repeat| held_out_scores(&training, settings, mix(settings.seed ^ mix(repeat))))
        .collect();
    let gains: Vec<f32> = examples.iter().map(|example| f32::from(example.gain())).collect();
    let line = Line::fit(&held_out, &gains);
    held_out.iter_mut().flatten().for_each(|score| *score = line.apply(*score));
    let calibration = Calibration::new(line, held_out.iter().flatten().copied());
    let all: Vec<usize> = (0..num).collect();
    let stages = training.fit(&all, settings.seed);
    Ok(Trained { model: GainModel::new(stages, calibration), held_out })
}

/// The score of every example by stages fitted on the other folds.
fn held_out_scores(training: &Training<'_>, settings: TrainSettings, seed: u64) -> Vec<f32> {
    let num_folds = settings.num_folds.max(2);
    let folds = folds(training.examples.iter(), num_folds, seed);
    let mut scores = vec![0.0; folds.len()];
    for fold in 0..num_folds {
        let (outside, inside): (Vec<usize>, Vec<usize>) =
            (0..folds.len()).partition(|&idx| folds[idx] != fold);
        let stages = training.fit(&outside, seed);
        for idx in inside {
            scores[idx] = stages.score(&training.readings[idx]);
        }
    }
    scores
}

/// A fold for every example, by its prompt: equal prompts are never on both sides.
fn folds<'a>(examples: impl Iterator<Item = &'a Example>, num_folds: usize, seed: u64) -> Vec<usize> {
    let fold = |example: &Example| {
        let bytes = example.prompt.bytes();
        let hash = bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        (mix(hash) % num_folds as u64) as usize
    };
    examples.map(fold).collect()
}

#[cfg(test)]
mod tests;

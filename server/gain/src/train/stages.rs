//! The two stages, fitted on any part of the examples.

use crate::example::Example;
use crate::forest::Forest;
use crate::forest::fit::{ForestRecipe, fit};
use crate::random::mix;
use crate::reading::{NUM_LEXICAL, Reading};
use crate::ridge::{self, SparseRow};
use crate::word_model::{Pair, WordModel, idf_steps, values};

use super::folds;

/// Features of the second stage: the surface, the two predictions of the first stage, and their difference.
pub(crate) const NUM_FEATURES: usize = NUM_LEXICAL + 3;

/// How strongly word weights are held to zero. Chosen, as all here, by cross-validation on `RouteLLM`'s published outcomes.
const PENALTY: f32 = 5.0;

/// Folds of the predictions that the second stage learns from.
const NUM_INNER_FOLDS: usize = 5;

/// A term must stand in this many prompts to have a weight.
const MIN_PROMPTS: usize = 2;

/// Other terms count in a prompt's length with this part of a rarest term's frequency.
const UNKNOWN_SHARE: u16 = 4;

const FOREST: ForestRecipe = ForestRecipe {
    num_forests: 16,
    num_trees: 150,
    max_leaves: 8,
    learning_rate: 0.03,
    min_rows: 25,
    penalty: 10.0,
    sample_one_in: 2,
    num_split_features: 25,
};

/// All that may be learned from.
pub(super) struct Training<'a> {
    pub(super) examples: &'a [Example],
    /// One an example.
    pub(super) readings: &'a [Reading],
}

/// What was learned.
pub(super) struct Stages {
    pub(super) words: WordModel,
    pub(super) forest: Forest,
}

impl Stages {
    /// The score of a prompt, before it is calibrated.
    pub(super) fn score(&self, reading: &Reading) -> f32 {
        self.forest.predict(&features(reading, self.words.predict(&reading.terms)))
    }
}

/// What the second stage sees of a prompt.
pub(crate) fn features(reading: &Reading, predicted: Pair) -> [f32; NUM_FEATURES] {
    let mut features = [0.0; NUM_FEATURES];
    features[..NUM_LEXICAL].copy_from_slice(&reading.lexical);
    features[NUM_LEXICAL..].copy_from_slice(&[predicted[0], predicted[1], predicted[1] - predicted[0]]);
    features
}

impl Training<'_> {
    /// Fits both stages on the examples `chosen`; of none they predict zero.
    pub(super) fn fit(&self, chosen: &[usize], seed: u64) -> Stages {
        let first = FirstStage::new(self, chosen);
        let chosen_examples: Vec<Example> = chosen.iter().map(|&idx| self.examples[idx].clone()).collect();
        let inner = folds(&chosen_examples, NUM_INNER_FOLDS, mix(seed));
        let mut rows = vec![Vec::new(); chosen.len()];
        for fold in 0..NUM_INNER_FOLDS {
            let (outside, inside): (Vec<usize>, Vec<usize>) =
                (0..chosen.len()).partition(|&place| inner[place] != fold);
            let (means, weights) = first.solve(&outside);
            for place in inside {
                let product = first.rows[place].dot(&weights);
                let predicted = [0, 1].map(|side| means[side] + product[side]);
                rows[place] = features(&self.readings[chosen[place]], predicted).to_vec();
            }
        }
        let gains: Vec<f32> = chosen_examples.iter().map(|example| f32::from(example.gain())).collect();
        let forest = fit(&rows, &gains, &FOREST, seed);
        Stages { words: first.word_model(), forest }
    }
}

/// The chosen examples as rows of the first stage.
struct FirstStage {
    rows: Vec<SparseRow>,
    outcomes: Vec<Pair>,
    /// Key and inverse document frequency of every column, in ascending order of key.
    columns: Vec<(u32, u16)>,
    /// What counts for the inverse document frequency of other terms.
    unknown_idf: u16,
}

impl FirstStage {
    fn new(training: &Training<'_>, chosen: &[usize]) -> Self {
        let readings: Vec<&Reading> = chosen.iter().map(|&idx| &training.readings[idx]).collect();
        let columns = columns(&readings);
        let unknown_idf = idf_steps(chosen.len(), 0) / UNKNOWN_SHARE;
        let outcome = |&idx: &usize| {
            let example = &training.examples[idx];
            [example.weak_correct, example.strong_correct].map(|right| f32::from(u8::from(right)))
        };
        Self {
            rows: readings.iter().map(|reading| row(reading, &columns, unknown_idf)).collect(),
            outcomes: chosen.iter().map(outcome).collect(),
            columns,
            unknown_idf,
        }
    }

    /// Means and weights, one pair a column, from the rows at `places`.
    fn solve(&self, places: &[usize]) -> (Pair, Vec<Pair>) {
        let rows: Vec<&SparseRow> = places.iter().map(|&place| &self.rows[place]).collect();
        let mean = |side: usize| {
            let sum: f64 = places.iter().map(|&place| f64::from(self.outcomes[place][side])).sum();
            (sum / places.len().max(1) as f64) as f32
        };
        let means = [mean(0), mean(1)];
        let centred: Vec<Pair> =
            places.iter().map(|&place| [0, 1].map(|side| self.outcomes[place][side] - means[side])).collect();
        (means, ridge::solve(&rows, &centred, self.columns.len(), PENALTY))
    }

    /// The word model of all rows.
    fn word_model(&self) -> WordModel {
        let places: Vec<usize> = (0..self.rows.len()).collect();
        let (means, weights) = self.solve(&places);
        let terms: Vec<(u32, u16, Pair)> =
            self.columns.iter().zip(weights).map(|(&(key, idf), weights)| (key, idf, weights)).collect();
        WordModel::new(means, self.unknown_idf, &terms).expect("columns stand in ascending order of key")
    }
}

/// The terms that stand in enough prompts: key and inverse document frequency, in ascending order of key.
fn columns(readings: &[&Reading]) -> Vec<(u32, u16)> {
    let mut keys: Vec<u32> =
        readings.iter().flat_map(|reading| reading.terms.iter().map(|term| term.key)).collect();
    keys.sort_unstable();
    let runs = keys.chunk_by(|a, b| a == b).filter(|run| run.len() >= MIN_PROMPTS);
    runs.map(|run| (run[0], idf_steps(readings.len(), run.len()))).collect()
}

fn row(reading: &Reading, columns: &[(u32, u16)], unknown_idf: u16) -> SparseRow {
    let places: Vec<Option<usize>> = reading
        .terms
        .iter()
        .map(|term| columns.binary_search_by_key(&term.key, |&(key, _)| key).ok())
        .collect();
    let idf = places.iter().map(|place| place.map_or(unknown_idf, |place| columns[place].1));
    let mut row = SparseRow::default();
    for (place, value) in places.iter().zip(values(&reading.terms, idf)) {
        if let Some(place) = place {
            row.columns.push(*place as u32);
            row.values.push(value);
        }
    }
    row
}

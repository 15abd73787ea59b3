//! Fits the stages on any part of the examples.

use super::folds;
use super::term_rows::TermRows;
use crate::example::Example;
use crate::forest::fit::{ForestRecipe, fit};
use crate::random::mix;
use crate::reading::{NUM_LEXICAL, Reading};
use crate::ridge::{self, SparseRow};
use crate::smooth_model::{NUM_WAVES, SmoothModel, Surface};
use crate::stages::{Stages, features};
use crate::word_model::{Pair, Targets, WordModel};

/// How strongly word weights are held to zero. Chosen, as all here, by cross-validation on `RouteLLM`'s published outcomes.
const PENALTY: f32 = 5.0;

/// The same for the smooth model.
const SMOOTH_PENALTY: f32 = 4.0;

/// Folds of the predictions that the forest learns from.
const NUM_INNER_FOLDS: usize = 5;

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

/// The examples that are learned from.
struct Chosen<'a> {
    examples: Vec<&'a Example>,
    readings: Vec<&'a Reading>,
    /// Terms of each.
    terms: TermRows,
    /// Whether the weak and the strong model were right: 0 or 1.
    outcomes: Vec<Pair>,
}

impl Training<'_> {
    /// Fits all stages on the examples `chosen`; of none they predict zero.
    pub(super) fn fit(&self, chosen: &[usize], seed: u64) -> Stages {
        let examples: Vec<&Example> = chosen.iter().map(|&idx| &self.examples[idx]).collect();
        let readings: Vec<&Reading> = chosen.iter().map(|&idx| &self.readings[idx]).collect();
        let outcome = |example: &&Example| {
            [example.weak_correct, example.strong_correct].map(|right| f32::from(u8::from(right)))
        };
        let outcomes = examples.iter().map(outcome).collect();
        Chosen { terms: TermRows::new(&readings), examples, readings, outcomes }.fit(seed)
    }
}

impl Chosen<'_> {
    fn fit(&self, seed: u64) -> Stages {
        let gains: Vec<f32> = self.examples.iter().map(|example| f32::from(example.gain())).collect();
        let forest = fit(&self.forest_rows(seed), &gains, &FOREST, seed);
        let (means, word_weights) = self.solve_words(&(0..gains.len()).collect::<Vec<usize>>());
        let mean_gain = means[1] - means[0];
        let (smooth, term_weights) = self.fit_smooth(&gains, mean_gain);
        let weights =
            word_weights.iter().zip(term_weights).map(|(&[weak, strong], gain)| [weak, strong, gain]);
        let columns = self.terms.columns.iter().zip(weights);
        let terms: Vec<(u32, u16, Targets)> =
            columns.map(|(&(key, idf), weights)| (key, idf, weights)).collect();
        let means = [means[0], means[1], mean_gain];
        let words = WordModel::new(means, self.terms.unknown_idf, &terms)
            .expect("columns stand in ascending order of key");
        Stages { words, smooth, forest }
    }

    /// What the forest sees of every example; the predictions are those of word models that have not seen it.
    fn forest_rows(&self, seed: u64) -> Vec<Vec<f32>> {
        let inner = folds(self.examples.iter().copied(), NUM_INNER_FOLDS, mix(seed));
        let mut rows = vec![Vec::new(); inner.len()];
        for fold in 0..NUM_INNER_FOLDS {
            let (outside, inside): (Vec<usize>, Vec<usize>) =
                (0..inner.len()).partition(|&place| inner[place] != fold);
            let (means, weights) = self.solve_words(&outside);
            for place in inside {
                let product = self.terms.rows[place].dot(&weights);
                let predicted = [0, 1].map(|side| means[side] + product[side]);
                rows[place] = features(self.readings[place], predicted).to_vec();
            }
        }
        rows
    }

    /// Means and word weights, one pair a column, from the examples at `places`.
    fn solve_words(&self, places: &[usize]) -> (Pair, Vec<Pair>) {
        let rows: Vec<&SparseRow> = places.iter().map(|&place| &self.terms.rows[place]).collect();
        let mean = |side: usize| {
            let sum: f64 = places.iter().map(|&place| f64::from(self.outcomes[place][side])).sum();
            (sum / places.len().max(1) as f64) as f32
        };
        let means = [mean(0), mean(1)];
        let centred: Vec<Pair> =
            places.iter().map(|&place| [0, 1].map(|side| self.outcomes[place][side] - means[side])).collect();
        (means, ridge::solve(&rows, &centred, self.terms.columns.len(), PENALTY))
    }

    /// The smooth model, and its weights of terms, one a column.
    fn fit_smooth(&self, gains: &[f32], mean_gain: f32) -> (SmoothModel, Vec<f32>) {
        let lexical: Vec<&[f32; NUM_LEXICAL]> =
            self.readings.iter().map(|reading| &reading.lexical).collect();
        let surface = Surface::of(&lexical);
        let num_terms = self.terms.columns.len();
        let rows: Vec<SparseRow> = self
            .terms
            .rows
            .iter()
            .zip(lexical)
            .map(|(terms, lexical)| {
                let mut row = terms.clone();
                row.columns.extend(num_terms as u32..(num_terms + NUM_WAVES) as u32);
                row.values.extend(surface.waves(lexical));
                row
            })
            .collect();
        // The second side has nothing to learn.
        let targets: Vec<Pair> = gains.iter().map(|gain| [gain - mean_gain, 0.0]).collect();
        let rows: Vec<&SparseRow> = rows.iter().collect();
        let solved = ridge::solve(&rows, &targets, num_terms + NUM_WAVES, SMOOTH_PENALTY);
        let mut weights: Vec<f32> = solved.into_iter().map(|[gain, _]| gain).collect();
        let waves = weights.split_off(num_terms);
        (SmoothModel::new(surface, waves).expect("there is a weight for every wave"), weights)
    }
}

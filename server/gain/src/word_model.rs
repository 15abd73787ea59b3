//! What each term of a prompt says: TF-IDF into ridge regressions.
//!
//! Two of them predict how likely each model is right, from terms alone. The third is the terms' part of the
//! [smooth model](crate::smooth_model), which is fitted together with the surface.
//!
//! A term's value is `(1 + ln count) * idf`, and a prompt's values have unit length. Terms that training hardly met have
//! no weight, but they count in the length: the more of a text is unknown, the nearer the prediction is to the mean.

mod table;

use crate::reading::Term;
pub(crate) use table::{Entry, Table};

/// Steps of one unit of inverse document frequency, which is kept as a whole number of such steps.
const IDF_STEPS: f64 = 2048.0;

/// One value for the weak model and one for the strong model.
pub(crate) type Pair = [f32; 2];

/// How many regressions there are.
pub(crate) const NUM_TARGETS: usize = 3;

/// One value for the weak model, one for the strong model, and one for the gain in the smooth model.
pub(crate) type Targets = [f32; NUM_TARGETS];

/// The regressions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WordModel {
    /// Share of right answers in training, and the mean gain.
    pub(crate) means: Targets,
    /// What one unit of a term's weight is worth.
    pub(crate) scales: Targets,
    /// What counts for the inverse document frequency of an unknown term, in steps.
    pub(crate) unknown_idf: u16,
    /// The known terms.
    pub(crate) table: Table,
}

impl WordModel {
    /// A model of `terms`: key, inverse document frequency and weights of each, in ascending order of key. Weights are
    /// rounded to whole units, which are chosen so that the largest weight fits. `None` if the keys do not ascend.
    pub(crate) fn new(means: Targets, unknown_idf: u16, terms: &[(u32, u16, Targets)]) -> Option<Self> {
        let scales = [0, 1, 2].map(|target| {
            let largest =
                terms.iter().map(|(_, _, weights)| weights[target].abs()).fold(f32::MIN_POSITIVE, f32::max);
            largest / f32::from(i16::MAX)
        });
        let entry = |&(key, idf, weights): &(u32, u16, Targets)| Entry {
            key,
            idf,
            weights: [0, 1, 2].map(|target| (weights[target] / scales[target]).round() as i16),
        };
        let table = Table::new(terms.iter().map(entry).collect())?;
        Some(Self { means, scales, unknown_idf, table })
    }

    /// The expected share of right answers of the weak and the strong model, not held to 0 to 1, and the terms' part of
    /// the smooth model's gain.
    pub(crate) fn predict(&self, terms: &[Term]) -> Targets {
        let entries: Vec<Option<&Entry>> = terms.iter().map(|term| self.table.find(term.key)).collect();
        let idf = entries.iter().map(|entry| entry.map_or(self.unknown_idf, |entry| entry.idf));
        let mut sums = [0.0; NUM_TARGETS];
        for (entry, value) in entries.iter().zip(values(terms, idf)) {
            let Some(entry) = entry else { continue };
            for (sum, weight) in sums.iter_mut().zip(entry.weights) {
                *sum += value * f32::from(weight);
            }
        }
        [0, 1, 2].map(|target| self.means[target] + self.scales[target] * sums[target])
    }
}

/// The inverse document frequency, in steps, of a term that `num_with` of `num` prompts have.
pub(crate) fn idf_steps(num: usize, num_with: usize) -> u16 {
    let idf = ((1 + num) as f64 / (1 + num_with) as f64).ln() + 1.0;
    (idf * IDF_STEPS).round() as u16
}

/// The values of a prompt's terms, of unit length together; `idf` has one number of steps a term.
pub(crate) fn values(terms: &[Term], idf: impl Iterator<Item = u16>) -> Vec<f32> {
    let value = |(term, idf): (&Term, u16)| (1.0 + (term.count as f32).ln()) * f32::from(idf);
    let mut values: Vec<f32> = terms.iter().zip(idf).map(value).collect();
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        for value in &mut values {
            *value /= norm;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(key: u32) -> Term {
        Term { key, count: 1 }
    }

    #[test]
    fn rare_terms_count_more_and_unknown_ones_shrink_to_the_mean() {
        let idf = [idf_steps(100, 50), idf_steps(100, 2), idf_steps(100, 0)];
        assert!(idf[0] < idf[1] && idf[1] < idf[2]);
        let terms = [(7, idf[0], [0.1, 0.2, -0.1]), (9, idf[1], [0.1, -0.2, 0.0])];
        let model = WordModel::new([0.5, 0.75, 0.25], idf[2], &terms).expect("the keys ascend");
        let alone = model.predict(&[term(7)]);
        assert!((alone[0] - 0.6).abs() < 1e-4 && (alone[1] - 0.95).abs() < 1e-4, "{alone:?}");
        assert!((alone[2] - 0.15).abs() < 1e-4, "{alone:?}");
        let with_rare = model.predict(&[term(7), term(9)]);
        assert!(with_rare[1] < 0.75, "the rare term outweighs the common one: {with_rare:?}");
        let with_unknown = model.predict(&[term(7), term(8)]);
        assert!(with_unknown[0] > 0.5 && with_unknown[0] < 0.54, "{with_unknown:?}");
        assert_eq!(model.predict(&[]).map(f32::to_bits), [0.5_f32, 0.75, 0.25].map(f32::to_bits));
    }

    #[test]
    fn weights_of_zero_are_no_trouble() {
        let model = WordModel::new([0.5; NUM_TARGETS], 2048, &[(0, 2048, [0.0; NUM_TARGETS])])
            .expect("the keys ascend");
        assert_eq!(model.predict(&[term(0)]).map(f32::to_bits), [0.5_f32; NUM_TARGETS].map(f32::to_bits));
    }
}

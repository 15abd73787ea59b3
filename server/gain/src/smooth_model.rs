//! Predicts the gain smoothly: prompts with about the same terms and about the same surface have about the same gain.
//!
//! A ridge regression on terms and on waves over the surface, which is nearly a Gaussian process. It is less good than
//! the forest on the whole and better at the very top of a ranking, and it errs elsewhere: their sum is better than each.
//!
//! The surface's values are replaced by their ranks among those of training, so that no text, however unlike those of
//! training, lies far away from them.

mod ranks;
mod waves;

use crate::reading::NUM_LEXICAL;
pub(crate) use ranks::{NUM_CUTS, Rank};
pub(crate) use waves::{NUM_WAVES, Waves};

/// The part of the smooth model that reads the surface; the part that reads terms is in the
/// [word model](crate::word_model).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SmoothModel {
    surface: Surface,
    /// One weight a wave; [`NUM_WAVES`].
    weights: Vec<f32>,
}

impl SmoothModel {
    /// A model with one weight for each of [`NUM_WAVES`], or `None` if there are more or fewer.
    pub(crate) fn new(surface: Surface, weights: Vec<f32>) -> Option<Self> {
        (weights.len() == NUM_WAVES).then_some(Self { surface, weights })
    }

    /// What the surface adds to the gain.
    pub(crate) fn predict(&self, lexical: &[f32; NUM_LEXICAL]) -> f32 {
        self.surface.waves(lexical).iter().zip(&self.weights).map(|(wave, weight)| wave * weight).sum()
    }

    /// How ranks are told.
    pub(crate) fn ranks(&self) -> &[Rank] {
        &self.surface.ranks
    }

    /// The weights of the waves.
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }
}

/// Turns a prompt's surface into waves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Surface {
    /// One a value of the surface.
    ranks: Vec<Rank>,
    waves: Waves,
}

impl Surface {
    /// A surface of `ranks`, or `None` unless there is one for each value.
    pub(crate) fn new(ranks: Vec<Rank>) -> Option<Self> {
        (ranks.len() == NUM_LEXICAL).then(|| Self { ranks, waves: Waves::new() })
    }

    /// Learns the ranks from `rows`.
    pub(crate) fn of(rows: &[&[f32; NUM_LEXICAL]]) -> Self {
        let rank = |column: usize| Rank::of(&rows.iter().map(|row| row[column]).collect::<Vec<f32>>());
        Self { ranks: (0..NUM_LEXICAL).map(rank).collect(), waves: Waves::new() }
    }

    /// The waves of a prompt; [`NUM_WAVES`].
    pub(crate) fn waves(&self, lexical: &[f32; NUM_LEXICAL]) -> Vec<f32> {
        let mut placed = [0.0; NUM_LEXICAL];
        for ((place, rank), &value) in placed.iter_mut().zip(&self.ranks).zip(lexical) {
            *place = rank.place(value);
        }
        self.waves.values(&placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_away_surface_is_not_far_from_the_largest_one_met() {
        let rows: Vec<[f32; NUM_LEXICAL]> = (0..200_u16).map(|idx| [f32::from(idx); NUM_LEXICAL]).collect();
        let surface = Surface::of(&rows.iter().collect::<Vec<_>>());
        let largest = surface.waves(&[199.0; NUM_LEXICAL]);
        assert_eq!(surface.waves(&[1e30; NUM_LEXICAL]), largest);
        assert_ne!(surface.waves(&[90.0; NUM_LEXICAL]), largest);
        assert!(SmoothModel::new(surface.clone(), vec![0.0; NUM_WAVES - 1]).is_none());
        let model = SmoothModel::new(surface, vec![1.0; NUM_WAVES]).expect("one weight a wave");
        let found = model.predict(&[1e30; NUM_LEXICAL]);
        assert!((found - largest.iter().sum::<f32>()).abs() < 1e-5, "{found}");
    }
}

//! Where a value stands among those of training.

/// Values of training that are kept to compare with.
pub(crate) const NUM_CUTS: usize = 64;

/// Tells the rank of one kind of value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rank {
    /// Values of training, evenly spread over their ranks, ascending; [`NUM_CUTS`].
    pub(crate) cuts: Vec<f32>,
    /// The mean log-odds of rank in training.
    pub(crate) mean: f32,
    /// One over the deviation of the log-odds; 0 where all values are alike.
    pub(crate) factor: f32,
}

impl Rank {
    /// Learns from `values`; of none, every value has the same place.
    pub(super) fn of(values: &[f32]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        let cut =
            |idx: usize| sorted.get((2 * idx + 1) * sorted.len() / (2 * NUM_CUTS)).copied().unwrap_or(0.0);
        let mut rank = Self { cuts: (0..NUM_CUTS).map(cut).collect(), mean: 0.0, factor: 1.0 };
        let places: Vec<f64> = values.iter().map(|&value| f64::from(rank.place(value))).collect();
        let num = places.len().max(1) as f64;
        let mean = places.iter().sum::<f64>() / num;
        let variance = places.iter().map(|place| (place - mean).powi(2)).sum::<f64>() / num;
        rank.mean = mean as f32;
        rank.factor = if variance > 1e-9 { (1.0 / variance.sqrt()) as f32 } else { 0.0 };
        rank
    }

    /// The log-odds of the share of values below `value`, equal ones counted half, with a mean of 0 and a deviation of 1
    /// in training.
    pub(super) fn place(&self, value: f32) -> f32 {
        let below = self.cuts.partition_point(|&cut| cut < value);
        let not_above = self.cuts.partition_point(|&cut| cut <= value);
        // Half a cut more at either end, so that no share is 0 or 1.
        let low = (below + not_above + 1) as f32;
        let high = (2 * NUM_CUTS + 2) as f32 - low;
        ((low / high).ln() - self.mean) * self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_a_mean_of_zero_and_a_deviation_of_one() {
        let values: Vec<f32> = (0..1000_u16).map(|idx| f32::from(idx % 100).powi(3)).collect();
        let rank = Rank::of(&values);
        let places: Vec<f32> = values.iter().map(|&value| rank.place(value)).collect();
        assert!(places.iter().sum::<f32>().abs() < 0.1);
        let squares: f32 = places.iter().map(|place| place * place).sum();
        assert!((squares / 1000.0 - 1.0).abs() < 1e-3, "{squares}");
        assert!(rank.place(-1.0) < rank.place(27.0) && rank.place(27.0) < rank.place(1e9));
        assert!(rank.place(1e30).is_finite() && rank.place(f32::MIN).is_finite());
    }

    #[test]
    fn equal_values_stand_in_the_middle_of_their_ranks() {
        let rank = Rank::of(&[0.0, 1.0, 2.0].repeat(32));
        assert!(rank.place(1.0).abs() < 1e-5 && (rank.place(0.0) + rank.place(2.0)).abs() < 1e-5, "{rank:?}");
    }

    #[test]
    fn values_that_are_all_alike_have_one_place() {
        for rank in [Rank::of(&[3.0; 50]), Rank::of(&[])] {
            assert_eq!(rank.cuts.len(), NUM_CUTS);
            assert!(rank.place(3.0).abs() < 1e-6 && rank.place(99.0).abs() < 1e-6);
        }
    }
}

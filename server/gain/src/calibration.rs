//! Makes a score mean something: an expected gain, and a share of prompts above it.

/// Quantiles kept: one every thousandth.
pub(crate) const NUM_QUANTILES: usize = 1001;

/// A straight line from raw scores to expected gains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// The gain at a raw score of zero.
    pub(crate) offset: f32,
    /// The gain of one unit of score; positive, so that the order stays.
    pub(crate) slope: f32,
}

impl Line {
    /// The line that fits `gains` best, by least squares, to several `rounds` of scores for them.
    pub(crate) fn fit(rounds: &[Vec<f32>], gains: &[f32]) -> Self {
        let pairs = || rounds.iter().flat_map(|scores| scores.iter().zip(gains));
        let num = (rounds.len() * gains.len()).max(1) as f64;
        let mean_score = pairs().map(|(&score, _)| f64::from(score)).sum::<f64>() / num;
        let mean_gain = pairs().map(|(_, &gain)| f64::from(gain)).sum::<f64>() / num;
        let mut variance = 0.0;
        let mut covariance = 0.0;
        for (&score, &gain) in pairs() {
            let distance = f64::from(score) - mean_score;
            variance += distance * distance;
            covariance += distance * (f64::from(gain) - mean_gain);
        }
        // Scores that say nothing, or less, keep their order but hardly move the gain.
        let slope = if variance > 0.0 { (covariance / variance).clamp(0.01, 2.0) } else { 1.0 };
        Self { offset: (mean_gain - slope * mean_score) as f32, slope: slope as f32 }
    }

    /// The expected gain of a raw score.
    pub(crate) fn apply(self, score: f32) -> f32 {
        self.offset + self.slope * score
    }
}

/// What a model needs beside its stages to be understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calibration {
    pub(crate) line: Line,
    /// Expected gains that 0, 1, .. 1000 thousandths of the prompts lie at or below; [`NUM_QUANTILES`], ascending.
    pub(crate) quantiles: Vec<f32>,
}

impl Calibration {
    /// Takes the quantiles of `gains`, of which there is at least one.
    pub(crate) fn new(line: Line, gains: impl Iterator<Item = f32>) -> Self {
        let mut sorted: Vec<f32> = gains.collect();
        sorted.sort_by(f32::total_cmp);
        let last = sorted.len() - 1;
        let quantile = |step: usize| sorted[(step * last + (NUM_QUANTILES - 1) / 2) / (NUM_QUANTILES - 1)];
        Self { line, quantiles: (0..NUM_QUANTILES).map(quantile).collect() }
    }

    /// The gain that `share` of the prompts reach. Nobody reaches that of no share, everybody that of 1 or more.
    pub(crate) fn threshold(&self, share: f64) -> f32 {
        if share.is_nan() || share <= 0.0 {
            return f32::INFINITY;
        }
        if share >= 1.0 {
            return f32::NEG_INFINITY;
        }
        let place = (1.0 - share) * (NUM_QUANTILES - 1) as f64;
        let below = self.quantiles[place.floor() as usize];
        let above = self.quantiles[place.ceil() as usize];
        below + (above - below) * place.fract() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_share_of_scores_reaches_the_threshold() {
        let scores: Vec<f32> = (0..5000_u16).map(|idx| (f32::from(idx) / 5000.0).powi(3)).collect();
        let calibration = Calibration::new(Line { offset: 0.0, slope: 1.0 }, scores.iter().copied());
        for share in [0.001, 0.1, 0.3333, 0.5, 0.9, 0.999] {
            let threshold = calibration.threshold(share);
            let reached = scores.iter().filter(|&&score| score >= threshold).count() as f64 / 5000.0;
            assert!((reached - share).abs() < 0.0015, "{share}: {reached}");
        }
        assert!(calibration.threshold(0.0) > 1.0 && calibration.threshold(f64::NAN) > 1.0);
        assert!(calibration.threshold(1.0) < 0.0);
    }

    #[test]
    fn the_line_shrinks_scores_that_promise_too_much() {
        let line = Line::fit(&[vec![-1.0, 1.0, -1.0, 1.0]], &[0.0, 1.0, 0.0, 0.0]);
        assert!((line.apply(1.0) - 0.5).abs() < 1e-6 && line.apply(-1.0).abs() < 1e-6, "{line:?}");
        let useless = Line::fit(&[vec![1.0, -1.0]], &[0.0, 1.0]);
        assert!(useless.slope > 0.0 && useless.slope < 0.02, "{useless:?}");
        assert!((Line::fit(&[vec![3.0, 3.0]], &[0.0, 1.0]).apply(3.0) - 0.5).abs() < 1e-6);
    }
}

//! Summaries of measured times, in milliseconds.
//!
//! Percentiles are nearest ranks: the smallest measured value that is at least as large as the given share of all. So
//! each is a time that some request or token really took.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A share of all values, in percent: above 0, at most 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank(f64);

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rank = text.trim().parse::<f64>().ok().filter(|rank| *rank > 0.0 && *rank <= 100.0);
        rank.map(Self)
            .ok_or_else(|| format!("percentile is `{text}`, must be above 0 and at most 100, as in 99.9"))
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Rank {
    /// As people write it: p99.
    pub(crate) fn label(self) -> String {
        format!("p{self}")
    }
}

/// What became of many times. There is none of no times.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of all values.
    pub deviation: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// The percentiles that were asked for, in that order.
    pub percentiles: Vec<(Rank, f64)>,
}

impl Summary {
    /// Sums up times.
    pub fn of(times: impl IntoIterator<Item = Duration>, ranks: &[Rank]) -> Option<Self> {
        let mut ms: Vec<f64> = times.into_iter().map(|time| 1e3 * time.as_secs_f64()).collect();
        ms.sort_by(f64::total_cmp);
        let (&min, &max) = (ms.first()?, ms.last()?);
        let count = ms.len();
        let mean = ms.iter().sum::<f64>() / count as f64;
        let variance = ms.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
        let percentiles = ranks.iter().map(|&rank| (rank, nearest_rank(&ms, rank))).collect();
        Some(Self { count, mean, deviation: variance.sqrt(), min, max, percentiles })
    }

    /// The percentiles as a cell of a table.
    pub(crate) fn cell(summary: Option<&Self>) -> String {
        let Some(summary) = summary else { return "-".to_owned() };
        let values: Vec<String> =
            summary.percentiles.iter().map(|(_, value)| format!("{value:.1}")).collect();
        values.join("/")
    }
}

/// `sorted` is not empty.
fn nearest_rank(sorted: &[f64], rank: Rank) -> f64 {
    // 99 % of 100 must be 99, although 0.99 * 100 is a little more in floating point.
    let position = (rank.0 * sorted.len() as f64 / 100.0 - 1e-9).ceil() as usize;
    sorted[position.clamp(1, sorted.len()) - 1]
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.count)?;
        for (name, value) in
            [("mean", self.mean), ("deviation", self.deviation), ("min", self.min), ("max", self.max)]
        {
            map.serialize_entry(name, &value)?;
        }
        for (rank, value) in &self.percentiles {
            map.serialize_entry(&rank.label(), value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(text: &str) -> Vec<Rank> {
        text.split(',').map(|rank| rank.parse().expect("a rank")).collect()
    }

    fn ms(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        for (times, asked, expected) in [
            (ms(1..=100), "1,50,90,99,99.1,100", vec![1.0, 50.0, 90.0, 99.0, 100.0, 100.0]),
            (ms([40, 10, 30, 20]), "25,26,50,75,76", vec![10.0, 20.0, 20.0, 30.0, 40.0]),
            (ms([7]), "0.1,50,100", vec![7.0, 7.0, 7.0]),
            (ms(1..=1000), "99.9,99.95", vec![999.0, 1000.0]),
        ] {
            let summary = Summary::of(times, &ranks(asked)).expect("there are values");
            let found: Vec<f64> = summary.percentiles.iter().map(|(_, value)| *value).collect();
            assert_eq!(found, expected, "{asked}");
        }
        assert_eq!(Summary::of(Vec::new(), &ranks("50")), None);
    }

    #[test]
    fn mean_deviation_and_extremes_are_of_all_values() {
        let summary = Summary::of(ms([2, 4, 4, 4, 5, 5, 7, 9]), &[]).expect("there are values");
        assert_eq!((summary.mean, summary.deviation, summary.min, summary.max), (5.0, 2.0, 2.0, 9.0));
    }

    #[test]
    fn ranks_are_read_and_written_and_their_range_is_told() {
        assert_eq!(ranks("50,99.9").into_iter().map(Rank::label).collect::<Vec<_>>(), ["p50", "p99.9"]);
        for text in ["0", "101", "-1", "nan", "p50", ""] {
            assert!(text.parse::<Rank>().is_err_and(|error| error.contains("at most 100")), "{text}");
        }
        let summary = Summary::of(ms([1, 3]), &ranks("50")).expect("there are values");
        let json = serde_json::to_string(&summary).expect("it serialises");
        assert_eq!(json, r#"{"count":2,"mean":2.0,"deviation":1.0,"min":1.0,"max":3.0,"p50":1.0}"#);
    }
}

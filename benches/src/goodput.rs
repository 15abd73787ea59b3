//! Goodput: how many requests a second are answered within what was promised.
//!
//! Source: the idea and the form of the flag are vLLM's and `DistServe`'s (Zhong et al., OSDI 2024).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::sample::Sample;

/// One promise: a time and its limit, as in `ttft:300ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    metric: Metric,
    limit: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// Time to the first token.
    FirstToken,
    /// Mean time per token after the first.
    TimePerToken,
    /// The longest time between two pieces.
    LongestGap,
    /// Time to the end of the answer.
    EndToEnd,
}

/// Names as users write them; the last one of each metric is vLLM's or an older one.
const NAMES: [(&str, Metric); 5] = [
    ("ttft", Metric::FirstToken),
    ("tpot", Metric::TimePerToken),
    ("itl", Metric::LongestGap),
    ("e2e", Metric::EndToEnd),
    ("e2el", Metric::EndToEnd),
];

/// Units in seconds.
const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0)];

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{text}` is no objective: write ttft, tpot, itl or e2e, a colon, and a time with unit, as in ttft:300ms"
            )
        };
        let (name, limit) = text.split_once(':').ok_or_else(wrong)?;
        let &(_, metric) = NAMES.iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
        let digits = limit.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(limit.len());
        let (number, unit) = limit.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let &(_, seconds) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
        let limit = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        Ok(Self { metric, limit })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, metric)| *metric == self.metric).map_or("", |(name, _)| name);
        write!(f, "{name}:{}ms", 1e3 * self.limit.as_secs_f64())
    }
}

impl Objective {
    /// Whether a request keeps the promise. What a request does not have, it cannot break.
    fn is_met(self, sample: &Sample) -> bool {
        let time = match self.metric {
            Metric::FirstToken => Some(sample.first_token),
            Metric::TimePerToken => sample.time_per_token(),
            Metric::LongestGap => sample.gaps.iter().max().copied(),
            Metric::EndToEnd => Some(sample.end_to_end),
        };
        time.is_none_or(|time| time <= self.limit)
    }
}

/// How many requests keep all promises.
pub(crate) fn num_good(samples: &[Sample], objectives: &[Objective]) -> usize {
    samples.iter().filter(|sample| objectives.iter().all(|objective| objective.is_met(sample))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(text: &str) -> Objective {
        text.parse().expect("an objective")
    }

    fn sample(first_token: u64, gaps: &[u64], end_to_end: u64) -> Sample {
        let ms = Duration::from_millis;
        Sample {
            output_tokens: 1 + gaps.len() as u64,
            first_token: ms(first_token),
            gaps: gaps.iter().copied().map(ms).collect(),
            end_to_end: ms(end_to_end),
            ..Sample::default()
        }
    }

    #[test]
    fn a_request_is_good_if_it_keeps_every_promise_to_the_last_moment() {
        let samples = [
            sample(300, &[10, 50], 360),
            sample(301, &[10], 311),
            sample(100, &[20, 60], 180),
            sample(9, &[], 9),
        ];
        for (promises, expected) in [
            ("ttft:300ms", 3),
            ("itl:50ms", 3),
            ("tpot:30ms", 3),
            ("tpot:40ms", 4),
            ("e2e:0.18s", 2),
            ("ttft:300ms itl:50ms", 2),
            ("ttft:300ms itl:50ms e2e:10ms", 1),
            ("e2el:1m", 4),
        ] {
            let promises: Vec<Objective> = promises.split(' ').map(objective).collect();
            assert_eq!(num_good(&samples, &promises), expected, "{promises:?}");
        }
        assert_eq!(num_good(&samples, &[]), 4);
    }

    #[test]
    fn objectives_are_read_and_written() {
        assert_eq!(objective("ttft:1.5s").to_string(), "ttft:1500ms");
        assert_eq!(objective("e2el:2s").to_string(), "e2e:2000ms");
        for text in ["ttft", "ttft:300", "ttft:ms", "ttf:3ms", "itl:-3ms", "itl:1e9s", "e2e:3 ms"] {
            assert!(text.parse::<Objective>().is_err_and(|error| error.contains("ttft:300ms")), "{text}");
        }
    }
}

//! Durations as people write them: `300ms`, `30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time. Written with a unit, `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeSpan(Duration);

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duration is `{text}`, must be a whole number with one of the units ms, s, m, h, as in 30s")]
pub struct InvalidTimeSpan {
    text: String,
}

/// Units in milliseconds, largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl TimeSpan {
    /// So many seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Self(Duration::from_secs(secs as u64))
    }

    /// As the standard library has it.
    pub fn duration(self) -> Duration {
        self.0
    }
}

/// To the millisecond.
impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for TimeSpan {
    type Err = InvalidTimeSpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTimeSpan { text: text.to_owned() };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let &(_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(invalid)?;
        number.checked_mul(factor).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(invalid)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis() as u64;
        let (name, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor))
            .unwrap_or(("s", 1000));
        write!(f, "{}{name}", ms / factor)
    }
}

impl TryFrom<String> for TimeSpan {
    type Error = InvalidTimeSpan;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeSpan> for String {
    fn from(span: TimeSpan) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_units() {
        for (text, ms) in [("0s", 0), ("300ms", 300), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)] {
            let span: TimeSpan = text.parse().expect("a duration");
            assert_eq!((span.duration().as_millis(), span.to_string().as_str()), (ms, text));
        }
        assert_eq!("90s".parse::<TimeSpan>().expect("a duration").to_string(), "90s");
    }

    #[test]
    fn refuses_what_has_no_unit_or_does_not_fit() {
        for text in ["", "30", "s", "-1s", "1.5s", "30 seconds", "99999999999999999h"] {
            assert!(text.parse::<TimeSpan>().is_err(), "{text}");
        }
    }
}

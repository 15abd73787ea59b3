//! Moments as the ledger keeps them, and months. All in UTC: a day or month of a report never depends on a machine's zone.

use std::fmt;
use std::ops::Range;

const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds since the beginning of 1970, UTC. The caller reads the clock; nothing here does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// This moment and `ms` more, or less if it is negative.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// A month of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i64,
    /// 1 to 12.
    month: i64,
}

impl Month {
    /// The month in which a moment lies.
    pub fn of(moment: UnixMs) -> Self {
        let (year, month) = civil_month(moment.0.div_euclid(MS_PER_DAY));
        Self { year, month }
    }

    /// Its first moment, and the first moment of the month after it.
    pub fn range(self) -> Range<UnixMs> {
        let next = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        let start = |(year, month)| UnixMs(first_day(year, month) * MS_PER_DAY);
        start((self.year, self.month))..start(next)
    }
}

/// As `2026-11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// Days from the beginning of 1970 to the first of a month.
///
/// Years are counted from March here, so that the leap day is a year's last: then the days before a month are a
/// straight line of 153 days in five months, rounded.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn first_day(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * months_since_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year and month of a day that is told in days from the beginning of 1970: `first_day` the other way round.
fn civil_month(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let month = (months_since_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_and_ends_where_the_calendar_says() {
        // Checked with `date -u -d 2026-11-01 +%s`.
        let november = Month::of(UnixMs(1_795_420_065_000));
        assert_eq!(november.to_string(), "2026-11");
        assert_eq!(november.range(), UnixMs(1_793_491_200_000)..UnixMs(1_796_083_200_000));
        let leap = Month::of(UnixMs(1_709_164_800_000));
        assert_eq!(leap.to_string(), "2024-02");
        assert_eq!((leap.range().end.0 - leap.range().start.0) / MS_PER_DAY, 29);
    }

    #[test]
    fn months_follow_each_other_without_gaps_for_four_centuries() {
        let mut month = Month::of(UnixMs(0));
        assert_eq!((month.to_string().as_str(), month.range().start), ("1970-01", UnixMs(0)));
        for _ in 0..400 * 12 {
            let end = month.range().end;
            assert_eq!(Month::of(end.plus_ms(-1)), month);
            let next = Month::of(end);
            assert_eq!(next.range().start, end);
            assert!(next > month);
            month = next;
        }
        assert_eq!(month.to_string(), "2370-01");
    }
}

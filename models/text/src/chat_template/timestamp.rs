//! A point in time as chat templates print it. The clock is the caller's.

/// A date and time, in UTC.
///
/// Some templates write the date of the day into the system prompt; the caller says which it is, so that
/// rendering stays a pure function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    year: i64,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    /// From 0, of the year.
    day_of_year: u32,
    /// From 0, Sunday.
    weekday: usize,
    second_of_day: u32,
}

const SECONDS_PER_DAY: i64 = 86_400;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Timestamp {
    /// The point in time this many seconds after 1970 began.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let mut year = 1970;
        let mut day_of_year = days;
        // 400 years are a whole number of weeks and repeat exactly.
        let cycles = days.div_euclid(146_097);
        year += 400 * cycles;
        day_of_year -= 146_097 * cycles;
        while day_of_year >= days_of_year(year) {
            day_of_year -= days_of_year(year);
            year += 1;
        }
        let mut day = day_of_year;
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: day as u32 + 1,
            day_of_year: day_of_year as u32,
            // 1970 began on a Thursday.
            weekday: (days + 4).rem_euclid(7) as usize,
            second_of_day: seconds.rem_euclid(SECONDS_PER_DAY) as u32,
        }
    }

    /// Python's `strftime` in the C locale. An unknown directive is the error.
    pub(super) fn strftime(self, format: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let directive = characters.next();
            let (padded, directive) = match directive {
                Some('-') => (false, characters.next()),
                _ => (true, directive),
            };
            let unknown = || directive.map(String::from).unwrap_or_default();
            text.push_str(&self.directive(directive.unwrap_or(' '), padded).ok_or_else(unknown)?);
        }
        Ok(text)
    }

    fn directive(self, directive: char, padded: bool) -> Option<String> {
        let number = |value: u32, width: usize| {
            if padded { format!("{value:0width$}") } else { value.to_string() }
        };
        let hour = self.second_of_day / 3600;
        let hour_of_half = (hour + 11) % 12 + 1;
        let month = MONTHS[self.month as usize - 1];
        let weekday = WEEKDAYS[self.weekday];
        let composed = |format: &str| self.strftime(format).ok();
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => number(self.year.rem_euclid(100) as u32, 2),
            'm' => number(self.month, 2),
            'B' => month.to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'd' => number(self.day, 2),
            'e' => format!("{:2}", self.day),
            'j' => number(self.day_of_year + 1, 3),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'w' => self.weekday.to_string(),
            'H' => number(hour, 2),
            'I' => number(hour_of_half, 2),
            'M' => number(self.second_of_day / 60 % 60, 2),
            'S' => number(self.second_of_day % 60, 2),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            'F' => composed("%Y-%m-%d")?,
            'T' | 'X' => composed("%H:%M:%S")?,
            'D' | 'x' => composed("%m/%d/%y")?,
            'R' => composed("%H:%M")?,
            'c' => composed("%a %b %e %H:%M:%S %Y")?,
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: i64, month: u32) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_dates_as_python_does() {
        let all = "%Y-%m-%d %H:%M:%S %a %A %b %B %-d %-m %e %j %y %I %p %F %T %c %%";
        let check = |seconds, expected: &str| {
            assert_eq!(Timestamp::from_unix_seconds(seconds).strftime(all).as_deref(), Ok(expected));
        };
        // Expected values are those of Python's datetime.
        check(
            0,
            "1970-01-01 00:00:00 Thu Thursday Jan January 1 1  1 001 70 12 AM 1970-01-01 00:00:00 Thu Jan  1 00:00:00 1970 %",
        );
        check(
            951_868_799,
            "2000-02-29 23:59:59 Tue Tuesday Feb February 29 2 29 060 00 11 PM 2000-02-29 23:59:59 Tue Feb 29 23:59:59 2000 %",
        );
        check(
            1_735_689_599,
            "2024-12-31 23:59:59 Tue Tuesday Dec December 31 12 31 366 24 11 PM 2024-12-31 23:59:59 Tue Dec 31 23:59:59 2024 %",
        );
        check(
            4_107_542_400,
            "2100-03-01 00:00:00 Mon Monday Mar March 1 3  1 060 00 12 AM 2100-03-01 00:00:00 Mon Mar  1 00:00:00 2100 %",
        );
        check(
            -1,
            "1969-12-31 23:59:59 Wed Wednesday Dec December 31 12 31 365 69 11 PM 1969-12-31 23:59:59 Wed Dec 31 23:59:59 1969 %",
        );
    }

    #[test]
    fn names_a_directive_that_is_unknown() {
        let now = Timestamp::from_unix_seconds(0);
        assert_eq!(now.strftime("%Q"), Err("Q".to_owned()));
        assert_eq!(now.strftime("50%"), Err(String::new()));
    }
}

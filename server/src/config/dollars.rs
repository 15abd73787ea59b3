//! Money as people write it: `0.25`, or `"0.25"`.
//!
//! TOML's numbers with a point are floats, and a float is no money. One of at most fifteen digits comes back as it was
//! written, so those are taken; a longer one must be written as a string.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use spillway_types::Usd;

/// Digits that a float keeps, whatever they are.
const EXACT_DIGITS: usize = 15;

/// An amount of US dollars, exact to the nano-dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dollars(pub(super) Usd);

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads any of the forms.
struct Written;

impl Visitor<'_> for Written {
    type Value = Dollars;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dollars as in 0.25 or \"0.25\", with at most nine digits after the point")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Dollars, E> {
        Usd::parse(text).map(Dollars).ok_or_else(|| E::custom(Refused(text)))
    }

    fn visit_i64<E: Error>(self, whole: i64) -> Result<Dollars, E> {
        self.visit_str(&whole.to_string())
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Dollars, E> {
        self.visit_str(&whole.to_string())
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Dollars, E> {
        // The shortest text that reads as this float: what was written, if that was short enough.
        let text = float.to_string();
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if digits > EXACT_DIGITS && Usd::parse(&text).is_some() {
            let message = format!("dollars are {text}, a float of {digits} digits, limit {EXACT_DIGITS}");
            return Err(E::custom(format!("{message}: write it as a string")));
        }
        self.visit_str(&text)
    }
}

/// Says what is wrong with a text.
struct Refused<'a>(&'a str);

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = "a decimal of 0 or more with at most nine digits after the point, as in 0.25";
        write!(f, "dollars are `{}`, must be {expected}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct File {
        price: Dollars,
    }

    fn read(text: &str) -> Result<String, String> {
        let file: Result<File, _> = toml::from_str(&format!("price = {text}\n"));
        file.map(|file| file.price.0.to_string()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_form_is_exact() {
        for (text, dollars) in [
            ("3", "3"),
            ("0.25", "0.25"),
            ("0.0088", "0.0088"),
            ("\"0.000000001\"", "0.000000001"),
            ("123456.789012345", "123456.789012345"),
            ("\"12345678901.123456789\"", "12345678901.123456789"),
            ("0.1", "0.1"),
            ("1e2", "100"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(dollars), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_or_not_exact_is_refused() {
        for (text, expected) in [
            ("-1", "dollars are `-1`, must be a decimal of 0 or more"),
            ("\"1 $\"", "dollars are `1 $`"),
            ("nan", "dollars are `NaN`"),
            ("0.0000000001", "at most nine digits"),
            ("12345678901.123456789", "a float of 17 digits, limit 15: write it as a string"),
            ("true", "dollars as in 0.25"),
        ] {
            let message = read(text).expect_err("no amount");
            assert!(message.contains(expected), "{message}");
        }
    }
}

//! Sizes as people write them: `512MiB`, `2GiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Written with a unit, `B`, `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("size is `{text}`, must be a whole number with one of the units B, KiB, MiB, GiB, TiB, as in 512MiB")]
pub struct InvalidSize {
    text: String,
}

/// Units, largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// So many MiB.
    pub const fn from_mib(mib: u32) -> Self {
        Self((mib as u64) << 20)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSize { text: text.to_owned() };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let &(_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(invalid)?;
        number.checked_mul(factor).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = InvalidSize;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_units() {
        for (text, bytes) in
            [("0B", 0), ("1KiB", 1024), ("512MiB", 512 << 20), ("2GiB", 2 << 30), ("3TiB", 3 << 40)]
        {
            let size: ByteSize = text.parse().expect("a size");
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!("1536MiB".parse::<ByteSize>().expect("a size").to_string(), "1536MiB");
        assert_eq!("8 GiB".parse::<ByteSize>().expect("a size").to_string(), "8GiB");
    }

    #[test]
    fn refuses_what_has_no_unit_or_does_not_fit() {
        for text in ["", "512", "MiB", "-1MiB", "1.5GiB", "1GB", "1mib", "99999999999999TiB"] {
            let error = text.parse::<ByteSize>().expect_err("no size");
            assert!(error.to_string().starts_with(&format!("size is `{text}`")), "{error}");
        }
    }
}

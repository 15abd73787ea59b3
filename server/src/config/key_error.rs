//! What is wrong with a key of the file: where it stands, its value, the limit, and the mend.

use std::fmt;
use std::time::Duration;

use super::TimeSpan;
use super::document::KeyPath;

/// A key that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// Where it stands.
    pub at: KeyPath,
    /// What is wrong.
    pub problem: Problem,
}

impl std::error::Error for KeyError {}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.problem)
    }
}

/// What is wrong with a key. Values that may be secret have no place in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("is missing: {mend}")]
    Missing {
        /// What to write.
        mend: String,
    },
    /// It may not be there.
    #[error("is given, but {reason}: leave it out")]
    OutOfPlace {
        /// Why not.
        reason: String,
    },
    /// A value outside its range.
    #[error("is {value}, must be {expected}")]
    OutOfRange {
        /// What was given.
        value: String,
        /// The range, in words.
        expected: String,
    },
    /// A secret outside its range. It is not shown.
    #[error("must be {expected} (its value is not shown)")]
    BadSecret {
        /// The range, in words.
        expected: &'static str,
    },
    /// A name that nothing has.
    #[error("names `{name}`, which is no {what}: {mend}")]
    Unknown {
        /// The name.
        name: String,
        /// What it should be a name of.
        what: &'static str,
        /// What to do.
        mend: String,
    },
    /// A name that something else has.
    #[error("is `{name}`, and so is {first}: give each its own name")]
    Twice {
        /// The name.
        name: String,
        /// Where it stands, too.
        first: KeyPath,
    },
    /// A model that costs money, and nobody says how much.
    #[error(
        "is `{model}`, whose price is not known, and it is outside: give price = {{ input = .., output = .. }} in dollars a million tokens, or add it to the file of [prices]"
    )]
    NoPrice {
        /// The model.
        model: String,
    },
    /// A file that cannot be used.
    #[error("names {path}, which {reason}")]
    BadFile {
        /// The file.
        path: String,
        /// What is wrong with it, and the mend.
        reason: String,
    },
}

impl KeyPath {
    /// The key is not there.
    pub(super) fn missing(&self, mend: impl Into<String>) -> KeyError {
        self.is(Problem::Missing { mend: mend.into() })
    }

    /// The key may not be there.
    pub(super) fn out_of_place(&self, reason: impl Into<String>) -> KeyError {
        self.is(Problem::OutOfPlace { reason: reason.into() })
    }

    /// The value is outside its range.
    pub(super) fn out_of_range(&self, value: impl fmt::Display, expected: impl Into<String>) -> KeyError {
        self.is(Problem::OutOfRange { value: value.to_string(), expected: expected.into() })
    }

    /// A span of some length.
    pub(super) fn positive(&self, span: TimeSpan) -> Result<Duration, KeyError> {
        let is_some = !span.duration().is_zero();
        is_some.then(|| span.duration()).ok_or_else(|| self.out_of_range(span, "longer than 0s"))
    }

    /// The key has this problem.
    pub(super) fn is(&self, problem: Problem) -> KeyError {
        KeyError { at: self.clone(), problem }
    }
}

//! What one request gave: its tokens, its times, or how it failed.

use std::fmt;
use std::time::Duration;

/// A request that was answered whole. Times count from the moment at which it was planned to be sent, so that a server or a
/// client that falls behind cannot hide it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// To the first piece of the answer.
    pub first_token: Duration,
    /// Between one piece and the next. A piece of several tokens counts once.
    pub gaps: Vec<Duration>,
    /// To the end of the answer.
    pub end_to_end: Duration,
    /// By how much it was sent later than planned.
    pub late: Duration,
}

impl Sample {
    /// Mean time per token after the first, to the end of the answer; absent if there is none.
    pub fn time_per_token(&self) -> Option<Duration> {
        let after_first =
            u32::try_from(self.output_tokens.checked_sub(1)?).ok().filter(|&count| count > 0)?;
        Some(self.end_to_end.saturating_sub(self.first_token) / after_first)
    }
}

/// A request that was not answered whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In what way.
    pub kind: FailureKind,
    /// What was said.
    pub message: String,
}

/// The ways in which requests fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection could be made, or it broke before the answer began.
    Connection,
    /// It took longer than allowed.
    Timeout,
    /// The answer has this status.
    Status(u16),
    /// An error came in the middle of the answer.
    ErrorEvent,
    /// The answer broke off.
    BrokenOff,
    /// The answer is whole, but has no text.
    NoText,
    /// The answer is not of the form that was asked for.
    NoAnswer,
    /// The engine refused or failed; only without a server.
    Engine,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::ErrorEvent => f.write_str("error event"),
            Self::BrokenOff => f.write_str("broken off"),
            Self::NoText => f.write_str("no text"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Engine => f.write_str("engine"),
        }
    }
}

impl Failure {
    /// Puts the two together.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_per_token_leaves_the_first_token_out() {
        let (first_token, end_to_end) = (Duration::from_millis(30), Duration::from_millis(70));
        // Whether they came in one piece or in many.
        let sample = |output_tokens| Sample { output_tokens, first_token, end_to_end, ..Sample::default() };
        assert_eq!(sample(5).time_per_token(), Some(Duration::from_millis(10)));
        assert_eq!(sample(9).time_per_token(), Some(Duration::from_millis(5)));
        assert_eq!((sample(1).time_per_token(), sample(0).time_per_token()), (None, None));
    }
}

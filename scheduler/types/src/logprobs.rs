//! How likely tokens are, as a client may ask to be told.
//!
//! All of it is said of the model's own logits, before anything that a request does to them: the log-probability of a
//! token does not change with the temperature, a bias or a penalty.

use crate::TokenId;

/// How many of the most likely tokens are told beside the one that stands there: 0 to [`TopLogprobs::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopLogprobs(u8);

/// A count above [`TopLogprobs::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTopLogprobs(pub u32);

impl std::fmt::Display for InvalidTopLogprobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} top tokens were asked for, limit {}", self.0, TopLogprobs::MAX)
    }
}

impl std::error::Error for InvalidTopLogprobs {}

impl TopLogprobs {
    /// The most tokens that are told.
    pub const MAX: u32 = 20;

    /// Nothing but the token that stands there.
    pub const NONE: Self = Self(0);

    /// The count.
    pub fn count(self) -> usize {
        usize::from(self.0)
    }
}

impl TryFrom<u32> for TopLogprobs {
    type Error = InvalidTopLogprobs;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        match u8::try_from(count) {
            Ok(small) if count <= Self::MAX => Ok(Self(small)),
            _ => Err(InvalidTopLogprobs(count)),
        }
    }
}

/// A token with the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: TokenId,
    /// Its log-probability.
    pub logprob: f32,
}

/// A token of a prompt or of an answer, with how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub token: TokenId,
    /// Its log-probability.
    pub logprob: f32,
    /// How it stood among the others, if that was asked for.
    pub ranking: Option<Ranking>,
}

/// How a token stood among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// How many tokens were at least as likely, itself included.
    pub rank: u32,
    /// The most likely tokens, best first; of equals the lowest id first.
    pub top: Vec<TokenLogprob>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_the_limit_are_taken() {
        assert_eq!(TopLogprobs::try_from(20).map(TopLogprobs::count), Ok(20));
        let error = TopLogprobs::try_from(21).expect_err("it is above the limit");
        assert_eq!(error.to_string(), "21 top tokens were asked for, limit 20");
        assert!(TopLogprobs::try_from(256).is_err());
    }
}

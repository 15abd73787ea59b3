//! What a request does to the logits before a token is chosen: penalties, biases, tokens that may or may not come.

use crate::{InvalidSampling, TokenId};

/// Pushes tokens down, or up, that have come already.
///
/// A repetition penalty divides positive logits and multiplies negative ones, of tokens in the prompt and in the output.
/// A frequency penalty is taken off once for each time that a token was generated, a presence penalty once for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
}

impl Default for Penalties {
    fn default() -> Self {
        Self::NONE
    }
}

impl Penalties {
    /// Nothing is penalised.
    pub const NONE: Self = Self { repetition: 1.0, presence: 0.0, frequency: 0.0 };
    /// The smallest repetition penalty: far smaller ones make positive logits infinite.
    pub const MIN_REPETITION: f32 = 0.01;
    /// The largest repetition penalty.
    pub const MAX_REPETITION: f32 = 100.0;

    /// Checks the values as clients write them. A repetition penalty of 1 and the others of 0 are off.
    ///
    /// # Errors
    ///
    /// [`InvalidSampling`] names the value that is out of range.
    pub fn new(repetition: f32, presence: f32, frequency: f32) -> Result<Self, InvalidSampling> {
        let check = |param, value: f32, ok: bool, expected| {
            if ok { Ok(()) } else { Err(InvalidSampling { param, value, expected }) }
        };
        let is_ratio = (Self::MIN_REPETITION..=Self::MAX_REPETITION).contains(&repetition);
        check("repetition_penalty", repetition, is_ratio, "from 0.01 to 100")?;
        check("presence_penalty", presence, (-2.0..=2.0).contains(&presence), "from -2 to 2")?;
        check("frequency_penalty", frequency, (-2.0..=2.0).contains(&frequency), "from -2 to 2")?;
        Ok(Self { repetition, presence, frequency })
    }

    /// Divides positive logits and multiplies negative ones, of tokens that have come or stand in the prompt.
    pub fn repetition(&self) -> f32 {
        self.repetition
    }

    /// Taken off once for all times that a token has come.
    pub fn presence(&self) -> f32 {
        self.presence
    }

    /// Taken off for each time that a token has come.
    pub fn frequency(&self) -> f32 {
        self.frequency
    }

    /// Whether nothing is penalised.
    pub fn are_off(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether tokens of the prompt count as well.
    pub fn look_at_prompt(&self) -> bool {
        (self.repetition - 1.0).abs() > 0.0
    }

    /// The logit of a token that stands in the prompt or came `count` times.
    pub fn apply(&self, logit: f32, count: u32) -> f32 {
        let scaled = if logit > 0.0 { logit / self.repetition } else { logit * self.repetition };
        let once = if count > 0 { self.presence } else { 0.0 };
        scaled - self.frequency * count as f32 - once
    }
}

/// What is added to the logit of one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenBias {
    /// The token.
    pub token: TokenId,
    /// From [`TokenBias::MIN`] to [`TokenBias::MAX`].
    pub bias: f32,
}

impl TokenBias {
    /// The lowest bias: the token hardly ever comes.
    pub const MIN: f32 = -100.0;
    /// The highest bias: hardly any other token comes.
    pub const MAX: f32 = 100.0;
}

/// Which tokens may come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenConstraints {
    /// The only tokens that may; any if absent.
    pub allowed: Option<Vec<TokenId>>,
    /// What is added to logits, each token at most once.
    pub bias: Vec<TokenBias>,
    /// Texts whose tokens must not come one after the other.
    pub bad_words: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_out_of_range_are_named() {
        for (values, param) in [
            ([0.0, 0.0, 0.0], "repetition_penalty"),
            ([f32::MIN_POSITIVE, 0.0, 0.0], "repetition_penalty"),
            ([0.009, 0.0, 0.0], "repetition_penalty"),
            ([101.0, 0.0, 0.0], "repetition_penalty"),
            ([f32::NAN, 0.0, 0.0], "repetition_penalty"),
            ([1.0, 2.1, 0.0], "presence_penalty"),
            ([1.0, 0.0, -2.1], "frequency_penalty"),
        ] {
            let error = Penalties::new(values[0], values[1], values[2]).expect_err("out of range");
            assert_eq!(error.param, param);
        }
        assert!(Penalties::new(1.0, 0.0, 0.0).is_ok_and(|penalties| penalties.are_off()));
        for repetition in [Penalties::MIN_REPETITION, Penalties::MAX_REPETITION] {
            let penalties = Penalties::new(repetition, 0.0, 0.0).expect("in range");
            assert!(penalties.apply(1e6, 1).is_finite() && penalties.apply(-1e6, 1).is_finite());
        }
    }

    #[test]
    fn penalties_work_on_both_signs_and_on_counts() {
        let penalties = Penalties::new(2.0, 0.5, 0.25).expect("in range");
        let applied =
            [(3.0, 0), (-3.0, 0), (3.0, 1), (-3.0, 4)].map(|(l, c)| penalties.apply(l, c).to_bits());
        assert_eq!(applied, [1.5_f32, -6.0, 0.75, -7.5].map(f32::to_bits));
    }
}

//! How the next token is chosen, and when a sequence stops.

use std::num::NonZeroU32;

use crate::{Penalties, TokenConstraints, TokenId, TopLogprobs};

/// Seed of a request's random numbers. The same seed gives the same tokens whatever else runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// How one token is chosen from its logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The most likely token; of equals the lowest id.
    Greedy,
    /// A random token.
    Random(RandomSampling),
}

/// Random choice: logits are divided by the temperature, then cut by min-p, top-k and top-p in this order, each of what
/// the one before left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomSampling {
    temperature: f32,
    top_k: Option<NonZeroU32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvalidSampling {
    /// The parameter's name as clients write it.
    pub param: &'static str,
    /// What was given.
    pub value: f32,
    /// The range, in words.
    pub expected: &'static str,
}

impl std::fmt::Display for InvalidSampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is {}, must be {}", self.param, self.value, self.expected)
    }
}

impl std::error::Error for InvalidSampling {}

impl Sampling {
    /// Temperatures below this are greedy: dividing by them overflows f32 logits.
    pub const MIN_TEMPERATURE: f32 = 1e-5;

    /// Checks the values as clients write them. `top_p` of 1 and `min_p` of 0 are off.
    ///
    /// # Errors
    ///
    /// [`InvalidSampling`] names the value that is out of range.
    pub fn new(
        temperature: f32,
        top_k: Option<NonZeroU32>,
        top_p: f32,
        min_p: f32,
    ) -> Result<Self, InvalidSampling> {
        let check = |param, value: f32, ok: bool, expected| {
            if ok { Ok(()) } else { Err(InvalidSampling { param, value, expected }) }
        };
        check("temperature", temperature, (0.0..=2.0).contains(&temperature), "from 0 to 2")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")?;
        if temperature < Self::MIN_TEMPERATURE {
            return Ok(Self::Greedy);
        }
        Ok(Self::Random(RandomSampling {
            temperature,
            top_k,
            top_p: (top_p < 1.0).then_some(top_p),
            min_p: (min_p > 0.0).then_some(min_p),
        }))
    }
}

impl RandomSampling {
    /// Divisor of the logits, at least [`Sampling::MIN_TEMPERATURE`].
    pub fn temperature(&self) -> f32 {
        self.temperature
    }

    /// Keep this many of the most likely tokens.
    pub fn top_k(&self) -> Option<NonZeroU32> {
        self.top_k
    }

    /// Keep the most likely tokens whose probabilities first sum to this, in (0, 1).
    pub fn top_p(&self) -> Option<f32> {
        self.top_p
    }

    /// Keep tokens at least this fraction as likely as the most likely one, in (0, 1].
    pub fn min_p(&self) -> Option<f32> {
        self.min_p
    }
}

/// What the client itself said of how tokens are chosen, without the served model's defaults: for servers that have
/// defaults of their own, and for those that refuse what they cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GivenSampling {
    /// Divisor of the logits, 0 to 2.
    pub temperature: Option<f32>,
    /// Cut by cumulated probability, above 0 and at most 1.
    pub top_p: Option<f32>,
    /// Cut by rank; absent also where the client switched it off.
    pub top_k: Option<NonZeroU32>,
    /// Cut by probability relative to the best, 0 to 1.
    pub min_p: Option<f32>,
    /// The seed.
    pub seed: Option<Seed>,
}

/// Everything about the output of one request that the engine decides.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that clients switch by itself")]
pub struct SamplingParams {
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Of that, what the client said; the rest are the served model's defaults.
    pub given: GivenSampling,
    /// Seed of all choices of the request; the choice's index keeps them apart.
    pub seed: Seed,
    /// Sequences to generate for the one prompt.
    pub n: NonZeroU32,
    /// Most tokens to generate for each sequence; the rest of the context if absent.
    pub max_tokens: Option<NonZeroU32>,
    /// Fewest tokens: until then no end token, stop token or stop string ends a sequence.
    pub min_tokens: u32,
    /// Texts that end a sequence.
    pub stop: Vec<String>,
    /// Tokens that end a sequence, beside the model's own end tokens.
    pub stop_tokens: Vec<TokenId>,
    /// Whether the stop string or token that ended a sequence is part of its text.
    pub include_stop: bool,
    /// Go on when the model says that it is done.
    pub ignore_eos: bool,
    /// Whether special tokens are part of the text.
    pub show_special_tokens: bool,
    /// What tokens that have come lose.
    pub penalties: Penalties,
    /// Which tokens may come.
    pub constraints: TokenConstraints,
    /// Whether each generated token is told with its ranking, and with how many others.
    pub logprobs: Option<TopLogprobs>,
    /// Whether the prompt's own tokens are scored, and how many others are told beside each.
    pub prompt_logprobs: Option<TopLogprobs>,
    /// Whether the prompt's text is told before the answer.
    pub tell_prompt: bool,
}

impl SamplingParams {
    /// One sequence to its own end, with nothing else asked for.
    pub fn new(sampling: Sampling, seed: Seed) -> Self {
        Self {
            sampling,
            given: GivenSampling::default(),
            seed,
            n: NonZeroU32::MIN,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            include_stop: false,
            ignore_eos: false,
            show_special_tokens: false,
            penalties: Penalties::NONE,
            constraints: TokenConstraints::default(),
            logprobs: None,
            prompt_logprobs: None,
            tell_prompt: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_is_greedy() {
        assert_eq!(Sampling::new(0.0, None, 0.5, 0.0), Ok(Sampling::Greedy));
    }

    #[test]
    fn switched_off_cuts_are_absent() {
        let Ok(Sampling::Random(random)) = Sampling::new(0.7, None, 1.0, 0.0) else {
            panic!("0.7 is a random sampling");
        };
        assert_eq!((random.top_k(), random.top_p(), random.min_p()), (None, None, None));
    }

    #[test]
    fn names_the_value_that_is_out_of_range() {
        for (temperature, top_p, min_p, param) in [
            (-0.1, 1.0, 0.0, "temperature"),
            (2.1, 1.0, 0.0, "temperature"),
            (f32::NAN, 1.0, 0.0, "temperature"),
            (1.0, 0.0, 0.0, "top_p"),
            (1.0, 1.1, 0.0, "top_p"),
            (1.0, 1.0, -0.1, "min_p"),
        ] {
            let error = Sampling::new(temperature, None, top_p, min_p).expect_err("out of range");
            assert_eq!(error.param, param);
        }
    }
}

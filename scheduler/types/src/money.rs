//! Money as whole nano-dollars, and what tokens cost.
//!
//! Prices are told per million tokens, so a token's price need not be a whole number of nano-dollars; a call's cost is
//! rounded up once, at its end. No float ever holds money.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use crate::Usage;

/// Tokens that a price is told for.
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// An amount of US dollars in nano-dollars: up to 18 thousand million dollars, beyond which sums stay at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Nano-dollars of one dollar.
    pub const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

    /// An amount of nano-dollars.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nano-dollars.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// For metrics and statistics only: a float is no money.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / Self::NANOS_PER_DOLLAR as f64
    }

    /// Less `other`, and nothing if that is more.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads dollars as people write them, `12`, `0.0088` or `1e-4` excluded: digits with at most nine after the point.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let nanos: u64 = format!("{fraction:0<9}").parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(Self::NANOS_PER_DOLLAR)?.checked_add(nanos).map(Self)
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Dollars to the last nano-dollar, without zeros that say nothing.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, nanos) = (self.0 / Self::NANOS_PER_DOLLAR, self.0 % Self::NANOS_PER_DOLLAR);
        if nanos == 0 {
            return write!(f, "{dollars}");
        }
        let digits = format!("{nanos:09}");
        write!(f, "{dollars}.{}", digits.trim_end_matches('0'))
    }
}

/// What a million tokens of each kind cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenPrices {
    /// Of the prompt, neither read from a cache nor written to one.
    pub input: Usd,
    /// Generated.
    pub output: Usd,
    /// Of the prompt, read from the provider's cache; as `input` if absent.
    pub cache_read: Option<Usd>,
    /// Of the prompt, written to the provider's cache; as `input` if absent.
    pub cache_write: Option<Usd>,
    /// What takes the place of all these where the prompt is long, if that makes a difference.
    pub long_prompt: Option<LongPromptPrices>,
}

/// What a million tokens of each kind cost in a call whose prompt is long: all its tokens, not only those beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPromptPrices {
    /// A prompt of more tokens is long.
    pub above_tokens: u32,
    /// As of a short prompt, [`TokenPrices::input`].
    pub input: Usd,
    /// As of a short prompt, [`TokenPrices::output`].
    pub output: Usd,
    /// As of a short prompt, [`TokenPrices::cache_read`].
    pub cache_read: Option<Usd>,
    /// As of a short prompt, [`TokenPrices::cache_write`].
    pub cache_write: Option<Usd>,
}

impl TokenPrices {
    /// Whether nothing is ever paid.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// The price of a call.
    pub fn cost(&self, usage: &Usage) -> Usd {
        let prices = self.of_prompt(usage.prompt_tokens);
        let plain =
            usage.prompt_tokens.saturating_sub(usage.cached_tokens.saturating_add(usage.cache_write_tokens));
        round_up([
            (plain, prices.input),
            (usage.cached_tokens, prices.cache_read.unwrap_or(prices.input)),
            (usage.cache_write_tokens, prices.cache_write.unwrap_or(prices.input)),
            (usage.completion_tokens, prices.output),
        ])
    }

    /// The most that a call can cost: every prompt token at its dearest, and all `max_tokens` generated.
    pub fn reservation(&self, prompt_tokens: u32, max_tokens: u32) -> Usd {
        let prices = self.of_prompt(prompt_tokens);
        let dearest = prices.input.max(prices.cache_write.unwrap_or(prices.input));
        round_up([(prompt_tokens, dearest), (max_tokens, prices.output)])
    }

    /// The prices of a call with a prompt of so many tokens.
    fn of_prompt(&self, prompt_tokens: u32) -> Self {
        match self.long_prompt {
            Some(long) if prompt_tokens > long.above_tokens => Self {
                input: long.input,
                output: long.output,
                cache_read: long.cache_read,
                cache_write: long.cache_write,
                long_prompt: None,
            },
            _ => *self,
        }
    }
}

/// The sum of tokens times their prices, rounded up to a whole nano-dollar.
fn round_up<const N: usize>(parts: [(u32, Usd); N]) -> Usd {
    let sum: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(price.0)).sum();
    Usd(u64::try_from(sum.div_ceil(TOKENS_PER_PRICE)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Usd {
        Usd::parse(text).expect("dollars")
    }

    #[test]
    fn reads_and_shows_dollars_exactly() {
        for text in ["0", "12", "0.0088", "3.3", "0.000000001", "18446744073.709551615"] {
            assert_eq!(dollars(text).to_string(), text);
        }
        for text in ["", ".5", "1e-4", "-1", "0.0000000001", "18446744073.709551616", "1.2.3", "1,5"] {
            assert_eq!(Usd::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_cost_counts_each_kind_of_token_once_and_rounds_up() {
        let prices = TokenPrices {
            input: dollars("1"),
            output: dollars("5"),
            cache_read: Some(dollars("0.1")),
            cache_write: Some(dollars("1.25")),
            long_prompt: None,
        };
        let usage =
            Usage { prompt_tokens: 1000, cached_tokens: 400, cache_write_tokens: 100, completion_tokens: 10 };
        // 500 at 1, 400 at 0.1, 100 at 1.25, 10 at 5 dollars a million.
        assert_eq!(prices.cost(&usage), dollars("0.000715"));
        let one = Usage { prompt_tokens: 1, ..Usage::default() };
        assert_eq!(TokenPrices { input: Usd::from_nanos(1), ..prices }.cost(&one), Usd::from_nanos(1));
        assert_eq!(prices.reservation(1000, 10), dollars("0.0013"));
    }

    #[test]
    fn a_long_prompt_has_prices_of_its_own_for_all_its_tokens() {
        let long_prompt = LongPromptPrices {
            above_tokens: 100_000,
            input: dollars("0.5"),
            output: dollars("2.5"),
            cache_read: Some(dollars("0.05")),
            cache_write: None,
        };
        let prices = TokenPrices {
            input: dollars("0.1"),
            output: dollars("0.5"),
            long_prompt: Some(long_prompt),
            ..TokenPrices::default()
        };
        let usage = |prompt_tokens| Usage { prompt_tokens, completion_tokens: 1000, ..Usage::default() };
        assert_eq!(prices.cost(&usage(100_000)), dollars("0.0105"));
        assert_eq!(prices.cost(&usage(100_001)), dollars("0.0525005"));
        assert_eq!(prices.reservation(100_000, 1000), dollars("0.0105"));
        assert_eq!(prices.reservation(200_000, 1000), dollars("0.1025"));
    }
}

//! How many tokens a text makes, where no tokenizer is at hand.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// About how many tokens one or several texts make: four ASCII characters a token, which is what English makes, and one
/// token for each other character, which is what the scripts of East Asia make at most in common vocabularies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TextSize {
    quarters: u64,
}

impl TextSize {
    /// The size of one text.
    pub fn of(text: &str) -> Self {
        let quarters = |byte: u8| match byte {
            ..0x80 => 1,
            // The later bytes of a character.
            0x80..0xc0 => 0,
            0xc0.. => 4,
        };
        Self { quarters: text.bytes().map(quarters).sum() }
    }

    /// Tokens, rounded up.
    pub fn tokens(self) -> u32 {
        u32::try_from(self.quarters.div_ceil(4)).unwrap_or(u32::MAX)
    }

    /// Whether there was no text.
    pub fn is_empty(self) -> bool {
        self.quarters == 0
    }
}

impl Add for TextSize {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { quarters: self.quarters.saturating_add(other.quarters) }
    }
}

impl AddAssign for TextSize {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for TextSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), Self::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_differ_in_how_much_a_token_holds() {
        let tokens = |text| TextSize::of(text).tokens();
        assert_eq!([tokens(""), tokens("a"), tokens("four"), tokens("fives")], [0, 1, 1, 2]);
        assert_eq!([tokens("\u{6f22}\u{5b57}"), tokens("caf\u{e9}"), tokens("\u{1f600}")], [2, 2, 1]);
    }

    #[test]
    fn pieces_of_a_text_are_as_large_as_the_text() {
        let whole = TextSize::of("seven letters");
        let pieces = ["se", "v", "en let", "ters"].map(TextSize::of);
        assert_eq!(pieces.into_iter().sum::<TextSize>(), whole);
        assert!(TextSize::of("").is_empty() && !whole.is_empty());
    }
}

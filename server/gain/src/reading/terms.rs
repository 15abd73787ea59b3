//! The terms of a text: runs of one to three words, each hashed to a key.

use super::words::WordList;
use crate::random::mix;

/// Longest run of words that is one term.
const MAX_WORDS: usize = 3;

/// A term of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    /// Its hash. Of 100,000 terms one in 40,000 shares its key with another.
    pub(crate) key: u32,
    /// How often it stands in the text, at least once.
    pub(crate) count: u32,
}

/// The terms of `words` in ascending order of key.
pub(super) fn terms(words: &WordList<'_>) -> Vec<Term> {
    let hashes: Vec<u64> = words.as_slice().iter().map(|word| hash(word)).collect();
    let mut keys = Vec::with_capacity(hashes.len() * MAX_WORDS);
    for start in 0..hashes.len() {
        let mut run = 0;
        for word in hashes[start..].iter().take(MAX_WORDS) {
            run = mix(run ^ word);
            keys.push((run >> u32::BITS) as u32);
        }
    }
    keys.sort_unstable();
    let runs = keys.chunk_by(|a, b| a == b);
    runs.map(|run| Term { key: run[0], count: run.len() as u32 }).collect()
}

/// FNV-1a, 64 bits.
fn hash(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Term> {
        terms(&WordList::new(text))
    }

    #[test]
    fn runs_of_one_two_and_three_words_are_terms() {
        assert_eq!(of("a b c d").len(), 4 + 3 + 2);
        assert_eq!(of("a"), [Term { count: 1, ..of("a")[0] }]);
        assert!(of("").is_empty());
    }

    #[test]
    fn order_within_a_run_matters_and_repeats_are_counted() {
        assert_ne!(of("a b"), of("b a"));
        let counts: Vec<u32> = of("a a a a").iter().map(|term| term.count).collect();
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [2, 3, 4], "three words twice, two words thrice, one word four times");
    }
}

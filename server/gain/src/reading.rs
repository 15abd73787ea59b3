//! What a model knows of a prompt: counts of its surface, and the terms in it.
//!
//! Everything is read from the text alone, in time that is linear in its length. Very long prompts are read at both
//! ends only: [`excerpt::MAX_END_BYTES`] of each.

mod excerpt;
mod lexical;
mod numbers;
mod options;
mod terms;
mod words;

pub(crate) use lexical::NUM_LEXICAL;
pub(crate) use terms::Term;

use words::WordList;

/// A prompt as a model sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Counts and shares of the surface, all finite; their order is part of a model's format.
    pub(crate) lexical: [f32; NUM_LEXICAL],
    /// Terms in ascending order of key, each once.
    pub(crate) terms: Vec<Term>,
}

impl Reading {
    /// Reads `prompt`.
    pub(crate) fn new(prompt: &str) -> Self {
        let text = excerpt::excerpt(prompt);
        let lower = text.to_lowercase();
        let words = WordList::new(&lower);
        Self { lexical: lexical::lexical(prompt.len(), &text, &words), terms: terms::terms(&words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_gives_finite_counts_and_sorted_terms() {
        let long = "Ω≈ç√ 漢字かな مرحبا \u{1f600} e\u{301} ".repeat(4000);
        for prompt in ["", " ", "\n", "A", "A. ", "A. a\nB. \nAnswer:", "\u{0}\u{feff}", "İI ß ǅ", &long] {
            let reading = Reading::new(prompt);
            assert!(
                reading.lexical.iter().all(|value| value.is_finite()),
                "{prompt:.20}: {:?}",
                reading.lexical
            );
            assert!(reading.terms.windows(2).all(|pair| pair[0].key < pair[1].key));
        }
    }
}

//! Cuts text into words: runs of letters, digits and underscores.

/// The words of a text in lower case, in order.
#[derive(Debug)]
pub(super) struct WordList<'a> {
    words: Vec<&'a str>,
}

impl<'a> WordList<'a> {
    /// Cuts up `lower`, which is in lower case.
    pub(super) fn new(lower: &'a str) -> Self {
        let is_break = |character: char| !(character.is_alphanumeric() || character == '_');
        Self { words: lower.split(is_break).filter(|word| !word.is_empty()).collect() }
    }

    /// The words.
    pub(super) fn as_slice(&self) -> &[&'a str] {
        &self.words
    }

    /// How many words `wanted` holds for.
    pub(super) fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.words.iter().filter(|word| wanted(word)).count()
    }

    /// Whether `word` is one of them.
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// Each different word once, in order of the alphabet.
    pub(super) fn distinct(&self) -> Vec<&'a str> {
        let mut distinct = self.words.clone();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
    }
}

/// How many words two sorted lists without repeats share.
pub(super) fn num_shared(left: &[&str], right: &[&str]) -> usize {
    left.iter().filter(|word| right.binary_search(word).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_all_but_letters_digits_and_underscores() {
        let words = WordList::new("it's x_1 = 3.5, 漢字!");
        assert_eq!(words.as_slice(), ["it", "s", "x_1", "3", "5", "漢字"]);
    }

    #[test]
    fn shared_words_are_counted_once() {
        let [left, right] = ["b a b", "b c b a"].map(|text| WordList::new(text).distinct());
        assert_eq!(left, ["a", "b"]);
        assert_eq!(num_shared(&left, &right), 2);
    }
}

//! Merge rules as GGUF writes them.

use tokenizers::models::bpe::Vocab;

use crate::error::TextError;

/// Splits each rule into its two tokens.
///
/// Tokens of byte-level vocabularies hold no space, so the only one is the border. That tokens and result are
/// in the vocabulary is checked here because the library, given a result that is too long, panics.
pub(super) fn parse(merges: &[String], vocab: &Vocab) -> Result<Vec<(String, String)>, TextError> {
    let is_rule = |left: &str, right: &str| {
        vocab.contains_key(left)
            && vocab.contains_key(right)
            && vocab.contains_key([left, right].concat().as_str())
    };
    let mut pairs = Vec::with_capacity(merges.len());
    for (merge_idx, merge) in merges.iter().enumerate() {
        match merge.split_once(' ') {
            Some((left, right)) if is_rule(left, right) => {
                pairs.push((left.to_owned(), right.to_owned()));
            }
            _ => return Err(TextError::MergeRule { merge_idx, merge: merge.clone() }),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_rule_that_does_not_make_a_token_out_of_two() {
        let vocab: Vocab = [("a", 0), ("b", 1), ("ab", 2)].map(|(text, id)| (text.to_owned(), id)).into();
        let rules = |rule: &str| parse(&["a b".to_owned(), rule.to_owned()], &vocab);
        assert_eq!(rules("a b").map(|pairs| pairs.len()).ok(), Some(2));
        for bad in ["ab", " b", "a ", "a b b", "b a", "a c", "ab ab"] {
            let error = rules(bad).expect_err("the rule is broken");
            let expected = format!(
                "merge rule 1 is `{bad}`, must be two tokens with one space between that make a third"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}

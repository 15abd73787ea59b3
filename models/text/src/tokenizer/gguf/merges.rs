//! Merge rules as GGUF writes them.

use crate::error::TextError;

/// Splits each rule into its two tokens.
///
/// Tokens of byte-level vocabularies hold no space, so the only one is the border.
pub(super) fn parse(merges: &[String]) -> Result<Vec<(String, String)>, TextError> {
    let mut pairs = Vec::with_capacity(merges.len());
    for (merge_idx, merge) in merges.iter().enumerate() {
        match merge.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
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
    fn names_the_rule_that_is_not_two_tokens() {
        for bad in ["ab", " b", "a ", "a b c"] {
            let error = parse(&["a b".to_owned(), bad.to_owned()]).expect_err("the rule is broken");
            assert_eq!(
                error.to_string(),
                format!("merge rule 1 is `{bad}`, must be two tokens with one space between"),
            );
        }
    }
}

//! The part of a prompt that is read.

use std::borrow::Cow;

/// Bytes read of either end of a prompt that is longer than two such ends. The middle is passed over: it bounds the
/// time of a decision, and the task of a long prompt stands at its beginning or its end.
pub(crate) const MAX_END_BYTES: usize = 8 * 1024;

/// `prompt`, or its two ends with a line break between them. Characters are never cut.
pub(super) fn excerpt(prompt: &str) -> Cow<'_, str> {
    if prompt.len() <= 2 * MAX_END_BYTES {
        return Cow::Borrowed(prompt);
    }
    let head = &prompt[..prompt.floor_char_boundary(MAX_END_BYTES)];
    let tail = &prompt[prompt.ceil_char_boundary(prompt.len() - MAX_END_BYTES)..];
    Cow::Owned(format!("{head}\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_is_read_at_both_ends_and_characters_stay_whole() {
        let prompt = format!("first {} last", "\u{1f600}".repeat(100_000));
        let read = excerpt(&prompt);
        assert!(read.starts_with("first ") && read.ends_with(" last"));
        assert!(read.len() <= 2 * MAX_END_BYTES + 1, "{}", read.len());
    }

    #[test]
    fn a_short_prompt_is_read_whole() {
        assert!(matches!(excerpt("short"), Cow::Borrowed("short")));
    }
}

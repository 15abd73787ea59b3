//! Tells the question of a prompt from the options it offers, where it does.

/// Most options that are looked at.
const MAX_OPTIONS: usize = 26;

/// A prompt's question, and the options under it: lines that begin with `A.`, `B)`, `(C)` and so on, in order from A.
#[derive(Debug, PartialEq)]
pub(super) struct Question<'a> {
    /// The text before the first option; all of it where there are fewer than two.
    pub(super) stem: &'a str,
    /// The options' texts, without label.
    pub(super) options: Vec<&'a str>,
}

/// Finds the last list of options in `text`. An option may span lines; the last one ends with its line.
pub(super) fn split(text: &str) -> Question<'_> {
    let mut found = Vec::new();
    let mut stem_end = 0;
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(start) = after_label(line, 'A') {
            found = vec![(line_start, line_start + start)];
            stem_end = line_start;
        } else if !found.is_empty()
            && found.len() < MAX_OPTIONS
            && let Some(start) = after_label(line, char::from(b'A' + found.len() as u8))
        {
            found.push((line_start, line_start + start));
        }
        line_start += line.len();
    }
    if found.len() < 2 {
        return Question { stem: text.trim(), options: Vec::new() };
    }
    Question { stem: text[..stem_end].trim(), options: texts(text, &found) }
}

/// `found` holds where each option's line and where its text begins.
fn texts<'a>(text: &'a str, found: &[(usize, usize)]) -> Vec<&'a str> {
    let mut options = Vec::with_capacity(found.len());
    for (idx, &(_, start)) in found.iter().enumerate() {
        let option = match found.get(idx + 1) {
            Some(&(next_line, _)) => &text[start..next_line],
            None => text[start..].lines().next().unwrap_or_default(),
        };
        options.push(option.trim());
    }
    options
}

/// Where the text of an option begins in `line`, if the line is labelled `letter`.
fn after_label(line: &str, letter: char) -> Option<usize> {
    let bare = line.trim_start();
    let inner = bare.strip_prefix('(').unwrap_or(bare).strip_prefix(letter)?;
    let rest = inner.strip_prefix(['.', ')', ':'])?;
    rest.starts_with(char::is_whitespace).then(|| line.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_options_of_several_forms_and_lines() {
        let found = split("Which?\nA. one\nB. two\n  more\nC. three\nD. four\nAnswer:");
        assert_eq!(found, Question { stem: "Which?", options: vec!["one", "two\n  more", "three", "four"] });
        let found = split("Which?\n (A) one\n (B) two\n");
        assert_eq!(found, Question { stem: "Which?", options: vec!["one", "two"] });
    }

    #[test]
    fn the_last_list_counts_and_one_option_is_none() {
        let found = split("A. x\nB. y\nNow:\nA) p\nB) q\nC) r");
        assert_eq!(found.options, ["p", "q", "r"]);
        for text in ["A. Smith wrote this.", "A train leaves.\nB. follows", "", "A.\u{e9}\nB.\u{e9}"] {
            assert_eq!(split(text), Question { stem: text, options: vec![] });
        }
    }
}

//! Every file says what it is, and none holds work that was put off.

use crate::sources::Source;

/// Words that mark unfinished work; written in two parts, so that this file does not complain of itself.
const LEFTOVERS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

/// Complains of Rust files that do not begin with `//!`, and of scripts and kernels without a comment on top.
pub(super) fn missing_headers(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !starts_with_header(source))
        .map(|source| format!("{}: no header that says what the file is", source.path))
        .collect()
}

fn starts_with_header(source: &Source) -> bool {
    if source.has_extension("rs") {
        return source.text.starts_with("//!");
    }
    if source.has_extension("cu") || source.has_extension("cuh") {
        return source.text.starts_with("//");
    }
    if source.has_extension("sh") || source.has_extension("py") {
        let second = source.text.lines().find(|line| !line.starts_with("#!"));
        return second.is_some_and(|line| line.starts_with('#') || line.starts_with("\"\"\""));
    }
    true
}

/// Complains of each line of code that marks unfinished work.
pub(super) fn leftovers(sources: &[Source]) -> Vec<String> {
    let marks = LEFTOVERS.map(|(head, tail)| format!("{head}{tail}"));
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| is_code(source)) {
        for (line_idx, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| has_word(line, mark)) {
                complaints.push(format!("{}:{}: {}", source.path, line_idx + 1, line.trim()));
            }
        }
    }
    complaints
}

fn is_code(source: &Source) -> bool {
    ["rs", "cu", "cuh", "sh", "py", "toml"].iter().any(|extension| source.has_extension(extension))
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_file_without_header_is_named() {
        let files = [
            source("good.rs", "//! Does this.\n"),
            source("bad.rs", "use std::fmt;\n"),
            source("good.sh", "#!/usr/bin/env bash\n# Does that.\n"),
            source("bad.sh", "#!/usr/bin/env bash\nset -e\n"),
        ];
        let complaints = missing_headers(&files);
        assert_eq!(complaints.len(), 2);
        assert!(complaints[0].starts_with("bad.rs") && complaints[1].starts_with("bad.sh"));
    }

    #[test]
    fn a_mark_counts_as_a_word_only() {
        let mark = format!("{}{}", LEFTOVERS[0].0, LEFTOVERS[0].1);
        assert!(has_word(&format!("// {mark}: later"), &mark));
        assert!(!has_word(&format!("{mark}SOMETHING"), &mark));
    }
}

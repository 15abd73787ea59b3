//! Labelled prompts: what training learns from and what an evaluation judges by.

use serde::Deserialize;

use crate::error::{GainError, LineFault};

/// One prompt that both models answered, and who was right.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Example {
    /// The user's text.
    pub prompt: String,
    /// Whether the local model's answer was right.
    pub weak_correct: bool,
    /// Whether the strong model's answer was right.
    pub strong_correct: bool,
}

impl Example {
    /// What the strong model would have gained: -1, 0 or 1.
    pub fn gain(&self) -> i8 {
        i8::from(self.strong_correct) - i8::from(self.weak_correct)
    }
}

/// Reads a log of one JSON object a line. Fields other than those of [`Example`] are ignored, and so are blank lines.
///
/// `file` is only for the message of an error.
///
/// # Errors
///
/// [`GainError::Line`] at the first line that is no example.
pub fn read_examples(file: &str, text: &str) -> Result<Vec<Example>, GainError> {
    let mut examples = Vec::new();
    for (line_idx, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let example = read_line(line).map_err(|reason| GainError::Line {
            file: file.to_owned(),
            line: line_idx + 1,
            reason,
        })?;
        examples.push(example);
    }
    Ok(examples)
}

fn read_line(line: &str) -> Result<Example, LineFault> {
    let example: Example = serde_json::from_str(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => LineFault::Fields,
        _ => LineFault::NotJson { column: error.column() },
    })?;
    if example.prompt.trim().is_empty() {
        return Err(LineFault::EmptyPrompt);
    }
    Ok(example)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        read_examples("log.jsonl", text).expect_err("the text is malformed").to_string()
    }

    #[test]
    fn reads_lines_and_ignores_other_fields_and_blank_lines() {
        let text =
            "{\"prompt\": \"hello\", \"subject\": 4, \"weak_correct\": false, \"strong_correct\": true}\n\n";
        let examples = read_examples("log.jsonl", text).expect("the text is well formed");
        assert_eq!(examples.len(), 1);
        assert_eq!(examples[0].gain(), 1);
    }

    #[test]
    fn tells_file_line_and_mend_and_never_the_prompt() {
        let good = "{\"prompt\": \"a\", \"weak_correct\": false, \"strong_correct\": true}\n";
        let missing = message(&format!("{good}{{\"prompt\": \"secret\", \"weak_correct\": 3}}"));
        assert!(missing.starts_with("`log.jsonl` line 2: a field is missing"), "{missing}");
        assert!(missing.contains("\"strong_correct\": false"), "{missing}");
        assert!(!missing.contains("secret"), "{missing}");
        assert!(message("secret").contains("line 1: not JSON at column 1"));
        assert!(message(&good.replace("\"a\"", "\" \"")).contains("the prompt is empty"));
    }
}

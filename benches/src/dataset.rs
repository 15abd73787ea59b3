//! Prompts from files: `ShareGPT`'s JSON, JSON lines, or plain lines.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// One prompt of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Its text.
    pub(crate) text: String,
    /// Tokens to generate, if the dataset says so.
    pub(crate) max_tokens: Option<u32>,
}

/// The form of a dataset's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON list of conversations: the first turn of each is a prompt.
    Sharegpt,
    /// A JSON object a line, with `prompt` and perhaps `output_len` or `max_tokens`.
    Jsonl,
    /// A prompt a line.
    Lines,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sharegpt => "sharegpt",
            Self::Jsonl => "jsonl",
            Self::Lines => "lines",
        })
    }
}

/// A file that is no dataset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    /// It cannot be read.
    #[error("dataset {} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is too large.
    #[error("dataset {} has {size} bytes, limit {MAX_FILE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// Something in it is wrong.
    #[error("dataset {}, {place}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// A line, or an entry of a list.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// There is no prompt in it.
    #[error("dataset {} has no prompt", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Where in a file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line.
    Line(usize),
    /// An entry of a JSON list.
    Entry(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(entry) => write!(f, "entry {entry}"),
        }
    }
}

/// Where a problem is, and what it is.
type Problem = (Place, String);

/// Reads a file's prompts, in its order. Its form is told by its name if `format` is absent: `.json`, `.jsonl`, or any.
///
/// # Errors
///
/// [`DatasetError`] says which line is wrong.
pub(crate) fn read(path: &Path, format: Option<Format>) -> Result<Vec<Prompt>, DatasetError> {
    let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        return Err(DatasetError::TooLarge { path: path.to_owned(), size });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let prompts = match format.unwrap_or_else(|| format_of(path)) {
        Format::Sharegpt => share_gpt(&text),
        Format::Jsonl => json_lines(&text),
        Format::Lines => Ok(lines(&text)),
    };
    let prompts = prompts.map_err(|(place, problem)| DatasetError::Malformed {
        path: path.to_owned(),
        place,
        problem,
    })?;
    if prompts.is_empty() { Err(DatasetError::Empty { path: path.to_owned() }) } else { Ok(prompts) }
}

fn format_of(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Format::Sharegpt,
        Some("jsonl") => Format::Jsonl,
        _ => Format::Lines,
    }
}

fn lines(text: &str) -> Vec<Prompt> {
    let filled = text.lines().filter(|line| !line.trim().is_empty());
    filled.map(|line| Prompt { text: line.to_owned(), max_tokens: None }).collect()
}

fn json_lines(text: &str) -> Result<Vec<Prompt>, Problem> {
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    filled.map(|(index, line)| json_line(line).map_err(|problem| (Place::Line(index + 1), problem))).collect()
}

fn json_line(line: &str) -> Result<Prompt, String> {
    let object: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
    if !object.is_object() {
        return Err("no JSON object".to_owned());
    }
    let text = match object.get("prompt") {
        None => return Err("`prompt` is missing".to_owned()),
        Some(Value::String(text)) if text.is_empty() => return Err("`prompt` is empty".to_owned()),
        Some(Value::String(text)) => text.clone(),
        Some(other) => return Err(format!("`prompt` is {}, must be a string", shorten(other))),
    };
    let given =
        |name: &'static str| object.get(name).filter(|value| !value.is_null()).map(|value| (name, value));
    let max_tokens = match given("output_len").or_else(|| given("max_tokens")) {
        None => None,
        Some((name, value)) => {
            let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
            let wrong =
                || format!("`{name}` is {}, must be an integer from 1 to {}", shorten(value), u32::MAX);
            Some(count.ok_or_else(wrong)?)
        }
    };
    Ok(Prompt { text, max_tokens })
}

/// Conversations without a first turn of text are passed over: the published files have such.
fn share_gpt(text: &str) -> Result<Vec<Prompt>, Problem> {
    let list: Value = serde_json::from_str(text)
        .map_err(|error| (Place::Line(error.line()), format!("no JSON: {error}")))?;
    let Value::Array(entries) = list else {
        return Err((Place::Line(1), "a list of conversations is expected".to_owned()));
    };
    let mut prompts = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let turns = entry.get("conversations").or_else(|| entry.get("conversation"));
        let Some(turns) = turns.and_then(Value::as_array) else {
            return Err((Place::Entry(index + 1), "`conversations` is missing or no list".to_owned()));
        };
        let Some(first) = turns.first() else { continue };
        match first.get("value").and_then(Value::as_str) {
            None => {
                return Err((Place::Entry(index + 1), "the first turn's `value` is no string".to_owned()));
            }
            Some("") => {}
            Some(text) => prompts.push(Prompt { text: text.to_owned(), max_tokens: None }),
        }
    }
    Ok(prompts)
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 40 { format!("{}...", text.chars().take(40).collect::<String>()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Vec<(String, Option<u32>)>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("room on the disk");
        let prompts = read(&path, None).map_err(|error| error.to_string())?;
        Ok(prompts.into_iter().map(|prompt| (prompt.text, prompt.max_tokens)).collect())
    }

    #[test]
    fn each_form_is_read_in_order() {
        let plain = |text: &str| (text.to_owned(), None);
        assert_eq!(read_text("a.txt", "one\n\n two \n"), Ok(vec![plain("one"), plain(" two ")]));
        let text = "{\"prompt\": \"a\", \"output_len\": 7, \"id\": 1}\n\n{\"prompt\": \"b\", \"max_tokens\": null}\n";
        assert_eq!(read_text("a.jsonl", text), Ok(vec![("a".to_owned(), Some(7)), plain("b")]));
        let text = r#"[{"id": "x", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]},
                       {"conversations": []}, {"conversation": [{"value": "there"}]}]"#;
        assert_eq!(read_text("a.json", text), Ok(vec![plain("hi"), plain("there")]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (name, text, expected) in [
            ("a.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\":\n", "line 2: no JSON"),
            ("a.jsonl", "\n{\"text\": \"a\"}", "line 2: `prompt` is missing"),
            ("a.jsonl", "{\"prompt\": [1]}", "line 1: `prompt` is [1], must be a string"),
            (
                "a.jsonl",
                "{\"prompt\": \"a\", \"output_len\": 0}",
                "line 1: `output_len` is 0, must be an integer from 1",
            ),
            ("a.jsonl", "7", "line 1: no JSON object"),
            ("a.json", "[\n{]", "line 2: no JSON"),
            ("a.json", "{}", "line 1: a list of conversations"),
            ("a.json", r#"[{"conversations": [{"value": "a"}]}, {}]"#, "entry 2: `conversations` is missing"),
            (
                "a.json",
                r#"[{"conversations": [{"value": 3}]}]"#,
                "entry 1: the first turn's `value` is no string",
            ),
            ("a.txt", " \n\n", "has no prompt"),
        ] {
            let error = read_text(name, text).expect_err("it is wrong");
            assert!(error.contains(expected), "{error}");
        }
        let error = read(Path::new("/no/such.jsonl"), None).expect_err("nothing is there").to_string();
        assert_eq!(error, "dataset /no/such.jsonl could not be read");
    }
}

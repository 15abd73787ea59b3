//! The table of every request field that is known, and what becomes of it.
//!
//! A field is honoured, or a request that asks for it is refused with a 400 that names it; nothing is ignored. Some are
//! honoured by some backends only: the router looks for one of these, and refuses if the model has none. What
//! counts as not asking: `null` always, and the values listed with the field, which are those that its
//! documentation gives as its default, so that clients which write out all defaults are served. A name that is not
//! in the table is refused whatever its value.
//!
//! The table in the README is [`markdown`] of this one; `server::http::fields` applies it.

mod examples;
mod table;

use std::fmt::Write;

pub use examples::{EXAMPLES, Example, OFFERED_EXAMPLES, examples};
pub use table::FIELDS;

/// A kind of JSON object in a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Body of `/v1/chat/completions`.
    Chat,
    /// Body of `/v1/completions`.
    Completions,
    /// Body of `/tokenize`.
    Tokenize,
    /// Body of `/detokenize`.
    Detokenize,
    /// An element of `messages`.
    Message,
    /// The value of `stream_options`.
    StreamOptions,
}

impl Object {
    /// Every kind, in the order of the README's tables.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Completions, Self::Message, Self::StreamOptions, Self::Tokenize, Self::Detokenize];

    /// What readers of the documentation call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Chat => "`/v1/chat/completions`",
            Self::Completions => "`/v1/completions`",
            Self::Tokenize => "`/tokenize`",
            Self::Detokenize => "`/detokenize`",
            Self::Message => "A message",
            Self::StreamOptions => "`stream_options`",
        }
    }
}

/// What becomes of a field that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has its effect.
    Honoured,
    /// It has its effect if a backend of the model can do it; else the request is refused.
    WhereOffered,
    /// The request is refused.
    Refused,
}

/// One field of one or several kinds of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name on the wire.
    pub name: &'static str,
    /// Where it may stand.
    pub objects: &'static [Object],
    /// What becomes of it.
    pub support: Support,
    /// Values, as JSON text, that count as not asking for it. `null` always does.
    pub not_asked: &'static [&'static str],
    /// Range, default and limits of an honoured field.
    pub note: &'static str,
}

/// The field `name` of an `object`, if the table knows it.
pub fn find(object: Object, name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name && field.objects.contains(&object))
}

/// The table as Markdown, one section for each kind of object.
pub fn markdown() -> String {
    let mut text = String::new();
    for object in Object::ALL {
        let of_object = || FIELDS.iter().filter(|field| field.objects.contains(&object));
        let _ = write!(
            text,
            "**{}**\n\n| Field | Honoured | Same as not given | Notes |\n|---|---|---|---|\n",
            object.title()
        );
        for field in of_object() {
            let honoured = match field.support {
                Support::Honoured => "yes",
                Support::WhereOffered => "if the backend can",
                Support::Refused => "no",
            };
            let not_asked =
                field.not_asked.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "| `{}` | {honoured} | {not_asked} | {} |", field.name, field.note);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stands_once_in_the_table_of_an_object() {
        for object in Object::ALL {
            let mut names: Vec<_> = FIELDS
                .iter()
                .filter(|field| field.objects.contains(&object))
                .map(|field| field.name)
                .collect();
            let num_rows = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), num_rows, "a field of {} is listed twice", object.title());
        }
    }

    #[test]
    fn values_that_count_as_not_given_are_json() {
        for field in FIELDS {
            for value in field.not_asked {
                assert!(
                    serde_json::from_str::<serde_json::Value>(value).is_ok(),
                    "`{}`: {value}",
                    field.name
                );
            }
        }
    }

    #[test]
    fn honoured_fields_say_what_they_take() {
        for field in FIELDS.iter().filter(|field| field.support != Support::Refused) {
            assert!(!field.note.is_empty(), "`{}` has no note", field.name);
        }
    }

    #[test]
    fn markdown_has_a_row_for_each_field_of_each_object() {
        let num_rows: usize = FIELDS.iter().map(|field| field.objects.len()).sum();
        let text = markdown();
        assert_eq!(text.lines().filter(|line| line.starts_with("| `")).count(), num_rows);
        assert!(text.contains("| `store` | no | `false` |  |"), "{text}");
    }
}

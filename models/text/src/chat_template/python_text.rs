//! Text as Python makes it: `str`, `repr` and `strip`.

use minijinja::Value;
use minijinja::value::ValueKind;

/// `str(value)`.
pub(super) fn str(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => repr(value),
    }
}

/// `text.strip(characters)`; white space without characters.
pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    lstrip(rstrip(text, characters), characters)
}

/// `text.lstrip(characters)`.
pub(super) fn lstrip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    text.trim_start_matches(|c| is_stripped(c, characters))
}

/// `text.rstrip(characters)`.
pub(super) fn rstrip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    text.trim_end_matches(|c| is_stripped(c, characters))
}

/// A float as `repr` writes it.
pub(super) fn float(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        // Rust writes 1e-7 where Python writes 1e-07.
        Some((mantissa, exponent)) => {
            let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

fn is_stripped(character: char, characters: Option<&str>) -> bool {
    match characters {
        Some(characters) => characters.contains(character),
        // Python counts the four information separators as white space, Unicode does not.
        None => character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character),
    }
}

fn repr(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
        }
        ValueKind::Seq | ValueKind::Iterable => format!("[{}]", joined(value, |item| repr(&item))),
        ValueKind::Map => {
            let member =
                |key: Value| format!("{}: {}", repr(&key), repr(&value.get_item(&key).unwrap_or_default()));
            format!("{{{}}}", joined(value, member))
        }
        _ => value.to_string(),
    }
}

fn joined(value: &Value, each: impl Fn(Value) -> String) -> String {
    let items: Vec<String> = value.try_iter().into_iter().flatten().map(each).collect();
    items.join(", ")
}

/// A string with the quotes and escapes of `repr`.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            _ if character == quote => quoted.extend(['\\', quote]),
            '\0'..='\u{1F}' | '\u{7F}'..='\u{A0}' | '\u{AD}' => {
                let escape = format!("\\x{:02x}", u32::from(character));
                quoted.push_str(&escape);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

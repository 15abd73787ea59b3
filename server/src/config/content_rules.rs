//! The checked `[[content_rules]]`: patterns that make a request private by what it says.

use std::sync::Arc;

use spillway_router::ContentRules;

use super::document::KeyPath;
use super::key_error::{KeyError, Problem};
use super::names::name;
use super::raw::RawContentRule;

/// Most rules; all are looked for at once, in every request.
const MAX_RULES: usize = 256;

/// Compiles all of them.
pub(super) fn validate(raw: Vec<RawContentRule>) -> Result<ContentRules, KeyError> {
    let section = KeyPath::section("content_rules");
    if raw.len() > MAX_RULES {
        return Err(section.item(MAX_RULES).out_of_place(format!("there may be at most {MAX_RULES}")));
    }
    let mut rules: Vec<(Arc<str>, String)> = Vec::with_capacity(raw.len());
    for (rule_idx, raw) in raw.into_iter().enumerate() {
        let at = section.item(rule_idx);
        let name: Arc<str> = name(raw.name, &at.key("name"))?.into();
        if let Some(first_idx) = rules.iter().position(|(other, _)| *other == name) {
            let first = section.item(first_idx).key("name");
            return Err(at.key("name").is(Problem::Twice { name: name.to_string(), first }));
        }
        let at_pattern = at.key("pattern");
        let missing = || at_pattern.missing("give the regular expression that makes a request private");
        let pattern = raw.pattern.ok_or_else(missing)?;
        // Each alone first, so that the one that is wrong is known.
        let alone = [(Arc::clone(&name), pattern.clone())];
        ContentRules::new(alone).map_err(|error| refused(&at_pattern, &pattern, &error.message))?;
        rules.push((name, pattern));
    }
    ContentRules::new(rules).map_err(|error| refused(&section, "too large all together", &error.message))
}

/// The last line of the compiler's message says what is wrong; those before it draw the pattern.
fn refused(at: &KeyPath, value: &str, message: &str) -> KeyError {
    let why = message.lines().last().unwrap_or(message).trim_start_matches("error: ").trim();
    at.out_of_range(format!("`{value}`"), format!("a regular expression ({why})"))
}

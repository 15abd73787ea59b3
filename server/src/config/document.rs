//! The config file as text with places: which line a key stands in, and which key stands at a place.
//!
//! A line is only ever told by its number and its keys: what stands behind a key may be a secret.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where in the file something stands, as `routes[1].targets[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

impl KeyPath {
    /// A section, or a list of tables.
    pub(super) fn section(name: &str) -> Self {
        Self(vec![Step::Key(name.to_owned())])
    }

    /// A key of a table.
    pub(super) fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// An item of a list, counted from 0.
    pub(super) fn item(&self, item_idx: usize) -> Self {
        self.with(Step::Item(item_idx))
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step_idx, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if step_idx == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(item_idx) => write!(f, "[{item_idx}]")?,
            }
        }
        Ok(())
    }
}

/// A file's text, and where its keys stand.
pub(super) struct Document<'a> {
    text: &'a str,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Finds the keys. What is no TOML has those that can be made out.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, table: DeTable::parse_recoverable(text).0 }
    }

    /// The line, counted from 1, of the deepest part of `path` that the file has; absent if it has none.
    pub(super) fn line_of(&self, path: &KeyPath) -> Option<usize> {
        let (mut table, mut value) = (Some(self.table.get_ref()), None);
        let mut found = None;
        for step in &path.0 {
            let next = match step {
                Step::Key(key) => {
                    let Some((name, next)) = table.and_then(|table| table.get_key_value(key.as_str())) else {
                        break;
                    };
                    // A list of tables has no key of its own: each item does.
                    found = Some(name.span());
                    next
                }
                Step::Item(item_idx) => {
                    let items = value.and_then(|value: &Spanned<DeValue<'_>>| value.get_ref().as_array());
                    let Some(next) = items.and_then(|items| items.get(*item_idx)) else { break };
                    found = Some(next.span());
                    next
                }
            };
            table = next.get_ref().as_table();
            value = Some(next);
        }
        found.map(|span| self.line_at(span.start))
    }

    /// The line of a flag's key, whatever its section.
    pub(super) fn line_of_flag(&self, flag: &str) -> Option<usize> {
        let key = flag.replace('-', "_");
        let sections = self.table.get_ref().values().filter_map(|section| section.get_ref().as_table());
        let mut found = sections.filter_map(|section| section.get_key_value(key.as_str()));
        found.next().map(|(name, _)| self.line_at(name.span().start))
    }

    /// The line, counted from 1, of a byte.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// The deepest key that stands at a byte or whose value does; absent if there is none.
    pub(super) fn path_at(&self, offset: usize) -> Option<KeyPath> {
        let mut steps = Vec::new();
        deepest_of_table(self.table.get_ref(), offset, &mut steps).then_some(KeyPath(steps))
    }
}

/// Adds the steps to what stands at `offset`. Tables are looked into wherever they seem to stand: a header names them in
/// one place, and their keys follow in another.
fn deepest_of_table(table: &DeTable<'_>, offset: usize, steps: &mut Vec<Step>) -> bool {
    table.iter().any(|(name, value)| {
        steps.push(Step::Key(name.get_ref().to_string()));
        let is_here = deepest_of_value(value, offset, steps) || is_in(&name.span(), offset);
        if !is_here {
            steps.pop();
        }
        is_here
    })
}

fn deepest_of_value(value: &Spanned<DeValue<'_>>, offset: usize, steps: &mut Vec<Step>) -> bool {
    let is_deeper = match value.get_ref() {
        DeValue::Table(table) => deepest_of_table(table, offset, steps),
        DeValue::Array(items) => items.iter().enumerate().any(|(item_idx, item)| {
            steps.push(Step::Item(item_idx));
            let is_here = deepest_of_value(item, offset, steps);
            if !is_here {
                steps.pop();
            }
            is_here
        }),
        _ => false,
    };
    is_deeper || is_in(&value.span(), offset)
}

fn is_in(span: &Range<usize>, offset: usize) -> bool {
    span.contains(&offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[server]\nport = 9\n\n[[backends]]\nname = \"a\"\nprice = { input = 1,\n output = 2 }\n\n\
                        [[backends]]\nname = \"b\"\n\n[[routes]]\nname = \"r\"\ntargets = [\n  \"a\",\n  \"c\",\n]\n";

    #[test]
    fn a_key_is_found_or_the_table_that_lacks_it() {
        let document = Document::new(TEXT);
        let backend = |idx| KeyPath::section("backends").item(idx);
        let route = KeyPath::section("routes").item(0);
        for (path, shown, line) in [
            (KeyPath::section("server").key("port"), "server.port", Some(2)),
            (backend(0).key("name"), "backends[0].name", Some(5)),
            (backend(0).key("price").key("output"), "backends[0].price.output", Some(7)),
            (backend(1).key("name"), "backends[1].name", Some(10)),
            (backend(1).key("region"), "backends[1].region", Some(9)),
            (route.key("targets").item(1), "routes[0].targets[1]", Some(16)),
            (route.key("targets").item(7), "routes[0].targets[7]", Some(14)),
            (KeyPath::section("keys").item(0), "keys[0]", None),
        ] {
            assert_eq!((path.to_string().as_str(), document.line_of(&path)), (shown, line));
        }
        assert_eq!((document.line_of_flag("port"), document.line_of_flag("max-port")), (Some(2), None));
    }

    #[test]
    fn a_place_is_told_by_its_deepest_key() {
        let document = Document::new(TEXT);
        for (text, path, line) in [
            ("port", "server.port", 2),
            ("9", "server.port", 2),
            ("2 }", "backends[0].price.output", 7),
            ("\"b\"", "backends[1].name", 10),
            ("\"c\"", "routes[0].targets[1]", 16),
        ] {
            let offset = TEXT.find(text).expect("it is there");
            let found = document.path_at(offset).expect("there is a key");
            assert_eq!((found.to_string().as_str(), document.line_at(offset)), (path, line));
        }
        assert_eq!(Document::new("= 3").path_at(0), None);
    }
}

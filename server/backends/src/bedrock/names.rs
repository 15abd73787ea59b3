//! Names that clients give, in the letters that Bedrock takes, and back.

use std::collections::{HashMap, HashSet};

/// The longest name that Bedrock takes.
const MAX_CHARS: usize = 64;

/// Names of one kind. Two names of clients never become one, and one that is fine already stays as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    to_wire: HashMap<String, String>,
    to_client: HashMap<String, String>,
}

/// Letters of a tool's name.
pub(super) fn is_tool_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// Letters of a call's id.
pub(super) fn is_id_letter(letter: char) -> bool {
    is_tool_letter(letter) || matches!(letter, '.' | ':')
}

impl Names {
    /// Finds a name for each, in order.
    pub(super) fn new<'a>(originals: impl IntoIterator<Item = &'a str>, is_letter: fn(char) -> bool) -> Self {
        let mut seen = HashSet::new();
        let originals: Vec<&str> = originals.into_iter().filter(|original| seen.insert(*original)).collect();
        let is_fine = |name: &str| !name.is_empty() && name.len() <= MAX_CHARS && name.chars().all(is_letter);
        let mut names = Self::default();
        // Those that are fine come first, so that no other takes their place.
        let (fine, others): (Vec<&str>, Vec<&str>) = originals.into_iter().partition(|name| is_fine(name));
        for name in fine {
            names.insert(name, name.to_owned());
        }
        for original in others {
            let letters = original.chars().map(|letter| if is_letter(letter) { letter } else { '_' });
            let wire = names.free(&letters.collect::<String>());
            names.insert(original, wire);
        }
        names
    }

    /// Takes a name for something of our own, like `base`.
    pub(super) fn reserve(&mut self, base: &str) -> String {
        let letters = base.chars().map(|letter| if is_tool_letter(letter) { letter } else { '_' });
        let wire = self.free(&letters.collect::<String>());
        self.to_client.insert(wire.clone(), wire.clone());
        wire
    }

    /// The name for Bedrock.
    pub(super) fn wire<'a>(&'a self, original: &'a str) -> &'a str {
        self.to_wire.get(original).map_or(original, String::as_str)
    }

    /// The client's name.
    pub(super) fn client<'a>(&'a self, wire: &'a str) -> &'a str {
        self.to_client.get(wire).map_or(wire, String::as_str)
    }

    fn insert(&mut self, original: &str, wire: String) {
        self.to_client.insert(wire.clone(), original.to_owned());
        self.to_wire.insert(original.to_owned(), wire);
    }

    /// A name like `base` that nobody has yet: cut, and numbered if need be.
    fn free(&self, base: &str) -> String {
        let base = if base.is_empty() { "_" } else { base };
        let cut = |max_chars: usize| base.chars().take(max_chars).collect::<String>();
        let mut name = cut(MAX_CHARS);
        let mut number = 2_u32;
        while self.to_client.contains_key(&name) {
            let suffix = format!("_{number}");
            name = cut(MAX_CHARS - suffix.len()) + &suffix;
            number += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_fit_without_two_becoming_one() {
        let long = "x".repeat(70);
        let originals = ["my.tool", "my tool", "my_tool", "größe", "", &long];
        let names = Names::new(originals, is_tool_letter);
        let wire: Vec<&str> = originals.iter().map(|original| names.wire(original)).collect();
        assert_eq!(wire, ["my_tool_2", "my_tool_3", "my_tool", "gr__e", "_", &"x".repeat(64)]);
        for original in originals {
            assert_eq!(names.client(names.wire(original)), original);
        }
    }

    #[test]
    fn a_name_of_our_own_is_nobody_elses() {
        let mut names = Names::new(["answer"], is_tool_letter);
        assert_eq!(names.reserve("answer"), "answer_2");
        assert_eq!(names.client("answer"), "answer");
    }

    #[test]
    fn ids_may_have_points_and_colons() {
        let names = Names::new(["call:1.a", "call/1"], is_id_letter);
        assert_eq!((names.wire("call:1.a"), names.wire("call/1")), ("call:1.a", "call_1"));
    }
}

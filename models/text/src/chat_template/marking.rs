//! Stand-ins for the characters that special tokens are made of.
//!
//! A *stand-in* is a character of Unicode's supplementary private use areas that occurs nowhere in this
//! conversation, one for each character that special tokens are made of. It survives everything a template
//! does to a string, and one character stays one character.
//!
//! White space, quotes and backslashes get no stand-in, so that trimming and JSON escapes work. A special
//! token made of nothing else cannot be protected; no known model has one.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::context::Context;
use crate::error::TextError;
use crate::rendered::RenderedPrompt;
use crate::trie::Trie;

/// Which characters of a client's strings get a stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marking {
    /// All that occur in special tokens.
    Everything,
    /// Of these, all but letters and digits; and whole special tokens.
    Signs,
    /// Only those in whole special tokens.
    LookAlikes,
}

/// First and last characters of the supplementary private use areas.
const PRIVATE_USE: [(char, char); 2] = [('\u{F0000}', '\u{FFFFD}'), ('\u{100000}', '\u{10FFFD}')];

/// The texts of a tokenizer's special tokens.
#[derive(Debug)]
pub(super) struct SpecialTexts {
    trie: Trie,
    /// Every character that occurs in them and may have a stand-in.
    alphabet: Vec<char>,
}

/// The stand-ins of one conversation.
#[derive(Debug)]
pub(super) struct StandIns {
    of: HashMap<char, char>,
    original: HashMap<char, char>,
}

/// Puts stand-ins into the strings of one conversation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marker<'a> {
    /// Leaves every string as it is.
    Plain,
    /// Marks strings.
    Marking(Marking, &'a SpecialTexts, &'a StandIns),
}

impl SpecialTexts {
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.collect();
        let characters = texts.iter().flat_map(|text| text.chars());
        let alphabet: BTreeSet<char> = characters.filter(|&c| may_have_stand_in(c)).collect();
        Self { trie: Trie::new(texts.into_iter().zip(0..)), alphabet: alphabet.into_iter().collect() }
    }

    /// Stand-ins that occur neither in the conversation nor in its plain rendering.
    pub(super) fn stand_ins(&self, context: &Context<'_>, plain: &str) -> Result<StandIns, TextError> {
        let mut taken = HashSet::new();
        let mut take = |text: &str| taken.extend(text.chars().filter(|&c| is_private_use(c)));
        context.for_each_string(&mut take);
        take(plain);
        let free = PRIVATE_USE.iter().flat_map(|&(first, last)| first..=last);
        let free = free.filter(|c| !taken.contains(c));
        let of: HashMap<char, char> = self.alphabet.iter().copied().zip(free).collect();
        if of.len() < self.alphabet.len() {
            return Err(TextError::TooManyPrivateCharacters { num_used: taken.len() });
        }
        let original = of.iter().map(|(&original, &stand_in)| (stand_in, original)).collect();
        Ok(StandIns { of, original })
    }

    /// Whether two renderings hold the same special tokens, in the same order, from their template.
    pub(super) fn agree(&self, one: &RenderedPrompt, other: &RenderedPrompt) -> bool {
        self.in_markup(one) == self.in_markup(other)
    }

    fn in_markup(&self, prompt: &RenderedPrompt) -> Vec<u32> {
        let mut found = Vec::new();
        for markup in prompt.markup() {
            let mut position = 0;
            while position < markup.len() {
                let longest = self.trie.prefixes_of(&markup.as_bytes()[position..]).last();
                found.extend(longest.map(|(_, special)| special));
                position += longest.map_or(1, |(len, _)| len);
            }
        }
        found
    }

    /// Which bytes of `text` belong to the text of a special token.
    fn look_alikes(&self, text: &str) -> Vec<bool> {
        let mut inside = vec![false; text.len()];
        for position in 0..text.len() {
            if let Some((len, _)) = self.trie.prefixes_of(&text.as_bytes()[position..]).last() {
                inside[position..position + len].fill(true);
            }
        }
        inside
    }
}

impl StandIns {
    /// Puts the characters back and notes where they stood.
    pub(super) fn restore(&self, marked: &str) -> RenderedPrompt {
        let mut prompt = RenderedPrompt::builder();
        for character in marked.chars() {
            match self.original.get(&character) {
                Some(&original) => prompt.content(original),
                None => prompt.markup(character),
            }
        }
        prompt.finish()
    }
}

impl Marker<'_> {
    /// A client's string as the template gets to see it.
    pub(super) fn mark(self, text: &str) -> String {
        let Self::Marking(marking, specials, stand_ins) = self else { return text.to_owned() };
        let in_look_alike = match marking {
            Marking::Everything => Vec::new(),
            Marking::Signs | Marking::LookAlikes => specials.look_alikes(text),
        };
        let marked = text.char_indices().map(|(byte_idx, character)| {
            let wanted = match marking {
                Marking::Everything => true,
                Marking::Signs => !character.is_alphanumeric() || in_look_alike[byte_idx],
                Marking::LookAlikes => in_look_alike[byte_idx],
            };
            let stand_in = stand_ins.of.get(&character).filter(|_| wanted);
            stand_in.copied().unwrap_or(character)
        });
        marked.collect()
    }

    /// The name of a JSON member as the template gets to see it: plain identifiers stay.
    pub(super) fn mark_name(self, name: &str) -> String {
        let is_identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let Self::Marking(_, specials, _) = self else { return name.to_owned() };
        if is_identifier && !specials.look_alikes(name).contains(&true) {
            return name.to_owned();
        }
        self.mark(name)
    }
}

/// A character that no client wrote: the last of the private use areas that is free, where stand-ins are the first.
pub(super) fn unused_character(context: &Context<'_>) -> Result<char, TextError> {
    let mut taken = HashSet::new();
    context.for_each_string(&mut |text| taken.extend(text.chars().filter(|&c| is_private_use(c))));
    let mut characters = PRIVATE_USE.iter().rev().flat_map(|&(first, last)| (first..=last).rev());
    let unused = characters.find(|c| !taken.contains(c));
    unused.ok_or(TextError::TooManyPrivateCharacters { num_used: taken.len() })
}

fn may_have_stand_in(character: char) -> bool {
    !character.is_whitespace() && !matches!(character, '"' | '\'' | '\\')
}

fn is_private_use(character: char) -> bool {
    PRIVATE_USE.iter().any(|&(first, last)| (first..=last).contains(&character))
}

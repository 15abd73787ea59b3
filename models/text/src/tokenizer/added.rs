//! Cuts a text at the tokens that were added to the vocabulary, before the model's own tokenisation sees it.
//!
//! Added tokens are *special* (`<|im_start|>`: they steer the model and never stand for text) or plain
//! (`<think>`, runs of spaces: text that is one token). Plain ones are found everywhere. Special ones are
//! found only where the caller says that the text is markup, which is the whole defence against special
//! tokens typed by users: the tokenizer library's own search for them is never used.
//!
//! The order of work is the library's, so that ids agree with Hugging Face: tokens marked `normalized =
//! false` are cut out of the raw text, the rest is normalised, then the other added tokens are cut out of it.
//! The longest of the texts at a position wins; one that may not be recognised there hides neither a shorter
//! one nor one inside of it.

use std::collections::HashMap;
use std::ops::Range as Bytes;

use tokenizers::normalizer::Range;
use tokenizers::{AddedToken, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizedString, Token};

use crate::error::BoxError;
use crate::trie::Trie;

/// Where special tokens are recognised in a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Recognise<'a> {
    /// Nowhere: all of it is content.
    Nowhere,
    /// Wherever none of these byte ranges is touched. They are sorted and do not overlap.
    Outside(&'a [Bytes<usize>]),
}

impl Recognise<'_> {
    fn allows(self, range: &Bytes<usize>) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Outside(content) => {
                let next = content.partition_point(|content| content.end <= range.start);
                content.get(next).is_none_or(|content| content.start >= range.end)
            }
        }
    }
}

/// A piece of the text, and its token if it is an added one.
type Piece = (NormalizedString, Option<Vec<Token>>);

/// The added tokens of one tokenizer.
#[derive(Debug)]
pub(super) struct AddedTokens {
    tokens: HashMap<u32, AddedToken>,
    raw: Trie,
    normalized: Trie,
}

impl AddedTokens {
    /// Takes the added tokens of a loaded tokenizer.
    pub(super) fn new(
        tokens: HashMap<u32, AddedToken>,
        normalizer: Option<&NormalizerWrapper>,
    ) -> Result<Self, BoxError> {
        let mut raw = Vec::new();
        let mut normalized = Vec::new();
        for (&id, token) in &tokens {
            if token.normalized {
                let mut text = NormalizedString::from(token.content.as_str());
                if let Some(normalizer) = normalizer {
                    normalizer.normalize(&mut text)?;
                }
                normalized.push((text.get().to_owned(), id));
            } else {
                raw.push((token.content.as_str(), id));
            }
        }
        let raw = Trie::new(raw);
        let normalized = Trie::new(normalized.iter().map(|(text, id)| (text.as_str(), *id)));
        Ok(Self { tokens, raw, normalized })
    }

    /// Whether `id` is a special token.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.tokens.get(&id).is_some_and(|token| token.special)
    }

    /// Whether `id` is an added token, special or plain.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.tokens.contains_key(&id)
    }

    /// Every added token with its id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.tokens.iter().map(|(&id, token)| (id, token))
    }

    /// Cuts `text` into added tokens and normalised text between them.
    pub(super) fn cut(
        &self,
        text: &str,
        normalizer: Option<&NormalizerWrapper>,
        recognise: Recognise<'_>,
    ) -> Result<PreTokenizedString, BoxError> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| self.cut_piece(&piece, &self.raw, recognise))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = normalizer {
                normalizer.normalize(&mut piece)?;
            }
            self.cut_piece(&piece, &self.normalized, recognise)
        })?;
        Ok(pieces)
    }

    fn cut_piece(
        &self,
        piece: &NormalizedString,
        trie: &Trie,
        recognise: Recognise<'_>,
    ) -> Result<Vec<Piece>, BoxError> {
        let slice = |range: Bytes<usize>| {
            piece.slice(Range::Normalized(range)).ok_or("added token does not end at a character")
        };
        let mut cut = Vec::new();
        let mut done = 0;
        let text = piece.get();
        let mut position = 0;
        while position < text.len() {
            let Some((range, id)) = self.token_at(piece, position, done, trie, recognise) else {
                position += 1;
                continue;
            };
            if done < range.start {
                cut.push((slice(done..range.start)?, None));
            }
            let len = range.len();
            let token = Token::new(id, text[range.clone()].to_owned(), (0, len));
            done = range.end;
            // A token that swallows white space on its right may not stand still, so the search goes on
            // behind it.
            position = done;
            cut.push((slice(range)?, Some(vec![token])));
        }
        if done < text.len() {
            cut.push((slice(done..text.len())?, None));
        }
        Ok(cut)
    }

    /// The longest token that starts at `position` and may be recognised, with the white space it swallows.
    fn token_at(
        &self,
        piece: &NormalizedString,
        position: usize,
        done: usize,
        trie: &Trie,
        recognise: Recognise<'_>,
    ) -> Option<(Bytes<usize>, u32)> {
        let text = piece.get();
        let bytes = text.as_bytes();
        if !trie.may_start_with(bytes[position]) || !text.is_char_boundary(position) {
            return None;
        }
        let (end, id, token) = trie
            .prefixes_of(&bytes[position..])
            .map(|(len, id)| (position + len, id, &self.tokens[&id]))
            .filter(|(end, _, token)| {
                !token.single_word || (!ends_with_word(&text[..position]) && !starts_with_word(&text[*end..]))
            })
            .filter(|(end, _, token)| {
                !token.special || recognise.allows(&original_range(piece, position..*end))
            })
            .last()?;
        let start = if token.lstrip { text[..position].trim_end().len().max(done) } else { position };
        let end = if token.rstrip { text.len() - text[end..].trim_start().len() } else { end };
        Some((start..end, id))
    }
}

/// Where a range of a normalised piece came from in the whole text.
fn original_range(piece: &NormalizedString, range: Bytes<usize>) -> Bytes<usize> {
    let offset = piece.offsets_original().0;
    let original = piece
        .convert_offsets(Range::Normalized(range))
        .expect("a range on character borders inside of the piece has an origin");
    offset + original.start..offset + original.end
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn ends_with_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

fn starts_with_word(text: &str) -> bool {
    text.chars().next().is_some_and(is_word)
}

//! The bytes that each token stands for.
//!
//! Decoding is looking up bytes and joining them, so that a text decoded token by token is the text decoded
//! at once. The library's own decoders are not used for it: they work on the whole list and replace bytes
//! that a later token would have made valid.
//!
//! Where this differs from Hugging Face on purpose: a run of byte tokens (`<0xE2>`) that is not valid UTF-8
//! loses only its invalid bytes, not the valid characters among them.

use std::collections::HashMap;

use spillway_types::TokenId;
use tokenizers::{DecoderWrapper, Tokenizer as Library};

use super::added::AddedTokens;
use super::byte_level;
use crate::error::TextError;

/// What stands for a space in vocabularies of the `SentencePiece` family.
pub(super) const SPACE_MARK: char = '▁';

/// How the text of a vocabulary entry is turned into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Every character stands for one byte.
    ByteLevel,
    /// `▁` stands for a space, and `<0x0A>` for a byte if `byte_fallback`.
    SentencePiece { byte_fallback: bool },
}

/// The bytes of every token, and how a text made of them begins.
#[derive(Debug)]
pub(crate) struct TokenTable {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they start where the token before it ends. `None` where an id has no
    /// token.
    entries: Vec<Option<Entry>>,
    /// Whether a space at the very start of a text is an artefact of tokenisation.
    drops_first_space: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    special: bool,
}

/// One token as the detokenizer needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBytes<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) special: bool,
}

impl TokenTable {
    /// Spells out every token of a loaded tokenizer.
    pub(super) fn new(library: &Library, added: &AddedTokens) -> Result<Self, TextError> {
        let (spelling, drops_first_space) = rules(library.get_decoder())?;
        let mut texts: HashMap<u32, String> =
            library.get_vocab(false).into_iter().map(|(text, id)| (id, text)).collect();
        texts.extend(added.iter().map(|(id, token)| (id, token.content.clone())));
        let num_ids = texts.keys().max().map_or(0, |last| *last as usize + 1);

        let mut table = Self { bytes: Vec::new(), entries: vec![None; num_ids], drops_first_space };
        for (id, entry) in (0u32..).zip(&mut table.entries) {
            let Some(text) = texts.get(&id) else { continue };
            let start = table.bytes.len() as u32;
            if added.contains(id) {
                table.bytes.extend_from_slice(text.as_bytes());
            } else {
                spell(text, spelling, &mut table.bytes);
            }
            let special = added.is_special(id);
            *entry = Some(Entry { start, end: table.bytes.len() as u32, special });
        }
        Ok(table)
    }

    /// One more than the largest id.
    pub(crate) fn vocab_size(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether decoding drops a space at the start of a text.
    pub(crate) fn drops_first_space(&self) -> bool {
        self.drops_first_space
    }

    /// The bytes of one token.
    pub(crate) fn get(&self, token: TokenId) -> Result<TokenBytes<'_>, TextError> {
        let entry = self.entries.get(token.0 as usize).copied().flatten();
        let entry = entry.ok_or(TextError::UnknownToken { token, vocab_size: self.vocab_size() })?;
        let bytes = &self.bytes[entry.start as usize..entry.end as usize];
        Ok(TokenBytes { bytes, special: entry.special })
    }
}

fn spell(text: &str, spelling: Spelling, bytes: &mut Vec<u8>) {
    match spelling {
        Spelling::ByteLevel => byte_level::spell(text, bytes),
        Spelling::SentencePiece { byte_fallback } => match byte_of(text).filter(|_| byte_fallback) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(text.replace(SPACE_MARK, " ").as_bytes()),
        },
    }
}

/// The byte that a token of the form `<0x0A>` stands for.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// Reads the rules of decoding out of a decoder, and whether it drops the first space.
fn rules(decoder: Option<&DecoderWrapper>) -> Result<(Spelling, bool), TextError> {
    let unsupported =
        |decoder: &dyn std::fmt::Debug| TextError::UnsupportedDecoder { decoder: format!("{decoder:?}") };
    let decoder = decoder.ok_or_else(|| unsupported(&"none"))?;
    match decoder {
        DecoderWrapper::ByteLevel(_) => Ok((Spelling::ByteLevel, false)),
        DecoderWrapper::Metaspace(metaspace) if metaspace.get_replacement() == SPACE_MARK => {
            let drops =
                metaspace.get_prepend_scheme() != tokenizers::pre_tokenizers::metaspace::PrependScheme::Never;
            Ok((Spelling::SentencePiece { byte_fallback: false }, drops))
        }
        DecoderWrapper::Sequence(sequence) => {
            sequence_rules(sequence.get_decoders()).ok_or_else(|| unsupported(decoder))
        }
        DecoderWrapper::BPE(_)
        | DecoderWrapper::WordPiece(_)
        | DecoderWrapper::Metaspace(_)
        | DecoderWrapper::CTC(_)
        | DecoderWrapper::Replace(_)
        | DecoderWrapper::Fuse(_)
        | DecoderWrapper::Strip(_)
        | DecoderWrapper::ByteFallback(_) => Err(unsupported(decoder)),
    }
}

/// The rules of a chain of decoders, if it is one of the `SentencePiece` family.
fn sequence_rules(decoders: &[DecoderWrapper]) -> Option<(Spelling, bool)> {
    let mut byte_fallback = false;
    let mut drops_first_space = false;
    for decoder in decoders {
        match decoder {
            DecoderWrapper::Replace(replace) => {
                let json = serde_json::to_value(replace).ok()?;
                let is_space = json["pattern"]["String"] == "▁" && json["content"] == " ";
                is_space.then_some(())?;
            }
            DecoderWrapper::ByteFallback(_) => byte_fallback = true,
            DecoderWrapper::Fuse(_) => {}
            DecoderWrapper::Strip(strip) if (strip.content, strip.start, strip.stop) == (' ', 1, 0) => {
                drops_first_space = true;
            }
            DecoderWrapper::ByteLevel(_) if decoders.len() == 1 => return Some((Spelling::ByteLevel, false)),
            DecoderWrapper::Metaspace(metaspace) if metaspace.get_replacement() == SPACE_MARK => {
                drops_first_space = metaspace.get_prepend_scheme()
                    != tokenizers::pre_tokenizers::metaspace::PrependScheme::Never;
            }
            DecoderWrapper::BPE(_)
            | DecoderWrapper::ByteLevel(_)
            | DecoderWrapper::WordPiece(_)
            | DecoderWrapper::Metaspace(_)
            | DecoderWrapper::CTC(_)
            | DecoderWrapper::Sequence(_)
            | DecoderWrapper::Strip(_) => return None,
        }
    }
    Some((Spelling::SentencePiece { byte_fallback }, drops_first_space))
}

//! Builds a tokenizer from the vocabulary in a GGUF file.
//!
//! GGUF stores the vocabulary and the *name* of the pre-tokenizer, not its rules; [`pre_tokenizer`] knows the
//! rules of the names. Two models of tokenisation exist: `gpt2` (byte-level BPE with written merges) and
//! `llama` (BPE of the `SentencePiece` family, whose merges follow from the scores of the tokens).
//!
//! This module does not read the file: `models::weights` fills a [`GgufVocabulary`].

use spillway_types::TokenId;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Library};

use super::sequence_ends::SequenceEnds;
use super::special::SpecialTokens;
use crate::error::TextError;

mod merges;
mod pre_tokenizer;
mod sentence_piece;

use pre_tokenizer::Family;

/// What a token of a GGUF vocabulary is, as `tokenizer.ggml.token_type` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// A piece of text (1).
    Normal,
    /// Stands for what cannot be spelled (2).
    Unknown,
    /// A special token (3).
    Control,
    /// A plain added token (4): text that is always one token.
    UserDefined,
    /// Kept free (5).
    Unused,
    /// One byte, written `<0x0A>` (6).
    Byte,
}

impl TokenType {
    /// The type with this number in a GGUF file.
    ///
    /// # Errors
    ///
    /// [`TextError::UnknownTokenType`] if there is none.
    pub fn from_gguf(number: i32) -> Result<Self, TextError> {
        match number {
            1 => Ok(Self::Normal),
            2 => Ok(Self::Unknown),
            3 => Ok(Self::Control),
            4 => Ok(Self::UserDefined),
            5 => Ok(Self::Unused),
            6 => Ok(Self::Byte),
            _ => Err(TextError::UnknownTokenType { number }),
        }
    }
}

/// The `tokenizer.ggml.*` entries of a GGUF file. A key that the file lacks is an empty list or `None`.
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary {
    /// `model`: `gpt2` or `llama`.
    pub model: String,
    /// `pre`: the name of the pre-tokenizer; without one it is GPT-2's. Only read for `gpt2`.
    pub pre: Option<String>,
    /// `tokens`: the text of every token, by id.
    pub tokens: Vec<String>,
    /// `token_type`: what every token is. If the list is empty, only the four below are special.
    pub token_types: Vec<TokenType>,
    /// `merges`: pairs of tokens with a space between, most important first. Only read for `gpt2`.
    pub merges: Vec<String>,
    /// `scores`: of every token; the higher, the earlier it is merged. Only read for `llama`.
    pub scores: Vec<f32>,
    /// `bos_token_id`.
    pub bos: Option<TokenId>,
    /// `eos_token_id`.
    pub eos: Option<TokenId>,
    /// `unknown_token_id`.
    pub unk: Option<TokenId>,
    /// `padding_token_id`.
    pub pad: Option<TokenId>,
    /// `add_bos_token`: whether a text begins with BOS. Without the key, those of `llama` do, and of `gpt2` those whose
    /// pre-tokenizer says so.
    pub add_bos: Option<bool>,
    /// `add_eos_token`: whether a text ends with EOS. Without the key, none does.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`: whether a text is tokenised as if a space stood before it. Only read for `llama`,
    /// where it does without the key.
    pub add_space_prefix: Option<bool>,
}

impl GgufVocabulary {
    /// The tokens with a part to play.
    pub(super) fn special_tokens(&self) -> Result<SpecialTokens, TextError> {
        let check = |role, token: Option<TokenId>| match token {
            Some(id) if id.0 as usize >= self.tokens.len() => {
                Err(TextError::MissingSpecialToken { role, token: id.to_string() })
            }
            _ => Ok(token),
        };
        Ok(SpecialTokens {
            bos: check("bos", self.bos)?,
            eos: check("eos", self.eos)?,
            unk: check("unk", self.unk)?,
            pad: check("pad", self.pad)?,
        })
    }

    /// What is put before and after a text.
    pub(super) fn sequence_ends(&self) -> Result<SequenceEnds, TextError> {
        let by_default = match self.model.as_str() {
            "gpt2" => Family::named(self.pre.as_deref())?.adds_bos,
            _ => true,
        };
        let end = |wanted: bool, role, token: Option<TokenId>| match (wanted, token) {
            (false, _) => Ok(Vec::new()),
            (true, Some(token)) => Ok(vec![token]),
            (true, None) => Err(TextError::MissingSpecialToken { role, token: "not declared".to_owned() }),
        };
        Ok(SequenceEnds {
            before: end(self.add_bos.unwrap_or(by_default), "bos", self.bos)?,
            after: end(self.add_eos.unwrap_or(false), "eos", self.eos)?,
        })
    }

    fn check_length(&self, list: &'static str, len: usize) -> Result<(), TextError> {
        let num_tokens = self.tokens.len();
        if len != num_tokens {
            return Err(TextError::VocabularyLength { list, len, num_tokens });
        }
        Ok(())
    }

    fn token_type(&self, token_idx: usize) -> TokenType {
        let declared = self.token_types.get(token_idx).copied();
        let parts = [self.bos, self.eos, self.unk, self.pad];
        let has_part = parts.iter().flatten().any(|token| token.0 as usize == token_idx);
        declared.unwrap_or(if has_part { TokenType::Control } else { TokenType::Normal })
    }
}

/// Builds the library's tokenizer. BOS and EOS are left to [`SequenceEnds`].
pub(super) fn build(vocabulary: &GgufVocabulary) -> Result<Library, TextError> {
    if !vocabulary.token_types.is_empty() {
        vocabulary.check_length("token_type", vocabulary.token_types.len())?;
    }
    let mut library = match vocabulary.model.as_str() {
        "gpt2" => byte_level(vocabulary)?,
        "llama" => sentence_piece::build(vocabulary)?,
        _ => return Err(TextError::UnknownTokenizerModel { model: vocabulary.model.clone() }),
    };
    // One at a time would rebuild the library's own search for every token.
    let added = vocabulary.tokens.iter().enumerate().filter_map(|(token_idx, text)| {
        let special = match vocabulary.token_type(token_idx) {
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => false,
            TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
        };
        Some(AddedToken::from(text.clone(), special).normalized(false))
    });
    library.add_tokens(added).map_err(|source| TextError::Vocabulary { source })?;
    Ok(library)
}

/// Byte-level BPE.
fn byte_level(vocabulary: &GgufVocabulary) -> Result<Library, TextError> {
    let family = Family::named(vocabulary.pre.as_deref())?;
    let vocab = ids_by_text(vocabulary);
    let merges = merges::parse(&vocabulary.merges, &vocab)?;
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(family.whole_words_first)
        .build()
        .map_err(|source| TextError::Vocabulary { source })?;
    let mut library = Library::new(model);
    library
        .with_normalizer(family.normalizer())
        .map_err(|source| TextError::Vocabulary { source })?
        .with_pre_tokenizer(Some(family.pre_tokenizer()?))
        .with_decoder(Some(ByteLevel::default()));
    Ok(library)
}

/// The vocabulary as the library takes it.
fn ids_by_text(vocabulary: &GgufVocabulary) -> Vocab {
    vocabulary.tokens.iter().cloned().zip(0u32..).collect()
}

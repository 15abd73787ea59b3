//! Text to token ids and back.
//!
//! A [`Tokenizer`] is loaded from a Hugging Face `tokenizer.json` or from the vocabulary of a GGUF file, and
//! is the same thing from then on. It wraps the `tokenizers` library's normaliser, pre-tokenizer and model;
//! the search for special tokens and the decoding are ours ([`added`] and [`token_table`] say why).
//!
//! # Invariants
//!
//! - Text of users never becomes a special token: only [`Tokenizer::encode_markup`] and the markup of a
//!   [`RenderedPrompt`] can.
//! - [`Tokenizer::decode`] is what a [`crate::Detokenizer`] gives, piece by piece.
//!
//! In a request's path: called by the engine's async side, before a request is queued.

use spillway_types::TokenId;
use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizer, Token, Tokenizer as Library};

use crate::detokenizer::{Detokenizer, Position};
use crate::error::{BoxError, TextError};
use crate::rendered::RenderedPrompt;
use crate::tokenizer_config::TokenizerConfig;

mod added;
mod byte_level;
mod gguf;
mod sequence_ends;
mod special;
mod token_table;

pub use gguf::{GgufVocabulary, TokenType};
pub use special::SpecialTokens;
pub(crate) use token_table::TokenTable;

use added::{AddedTokens, Recognise};
use sequence_ends::SequenceEnds;

/// What to do about the tokens that a tokenizer puts before (BOS) and after (EOS) a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Put them there, as the tokenizer's files say.
    Add,
    /// The text only.
    Omit,
}

/// Whether special tokens show in decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialText {
    /// Leave them out.
    Skip,
    /// Show them as they are written in the vocabulary.
    Show,
}

/// Turns text into token ids and back. Cheap to share by reference; it holds no state between calls.
#[derive(Debug)]
pub struct Tokenizer {
    library: Library,
    added: AddedTokens,
    table: TokenTable,
    ends: SequenceEnds,
    special: SpecialTokens,
}

impl Tokenizer {
    /// Loads `tokenizer.json`, with the special tokens that `tokenizer_config.json` names.
    ///
    /// # Errors
    ///
    /// [`TextError::TokenizerJson`] if it is no tokenizer, [`TextError::UnsupportedDecoder`] and
    /// [`TextError::UnsupportedPostProcessor`] if it is one that cannot be served,
    /// [`TextError::MissingSpecialToken`] if the two files disagree.
    pub fn from_hf_json(json: &[u8], config: &TokenizerConfig) -> Result<Self, TextError> {
        let mut library = Library::from_bytes(json).map_err(|source| TextError::TokenizerJson { source })?;
        library.with_padding(None);
        library.with_truncation(None).map_err(|source| TextError::TokenizerJson { source })?;
        let ends = SequenceEnds::probe(&library)?;
        let special = SpecialTokens::from_config(config, &library)?;
        Self::assemble(library, ends, special)
    }

    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    ///
    /// [`TextError::UnknownTokenizerModel`] and [`TextError::UnknownPreTokenizer`] name what is not known
    /// here; the other variants say which list of the vocabulary is broken.
    pub fn from_gguf(vocabulary: &GgufVocabulary) -> Result<Self, TextError> {
        let library = gguf::build(vocabulary)?;
        let special = vocabulary.special_tokens()?;
        let ends = vocabulary.sequence_ends()?;
        Self::assemble(library, ends, special)
    }

    fn assemble(library: Library, ends: SequenceEnds, special: SpecialTokens) -> Result<Self, TextError> {
        let tokens = library.get_added_tokens_decoder().into_iter().collect();
        let added = AddedTokens::new(tokens, library.get_normalizer())
            .map_err(|source| TextError::Vocabulary { source })?;
        let table = TokenTable::new(&library, &added)?;
        Ok(Self { library, added, table, ends, special })
    }

    /// Tokens of a user's text. Special tokens are never recognised in it.
    ///
    /// # Errors
    ///
    /// [`TextError::Encode`] if the library fails.
    pub fn encode_text(&self, text: &str, ends: Ends) -> Result<Vec<TokenId>, TextError> {
        self.encode(text, Recognise::Nowhere, ends)
    }

    /// Tokens of text that the model's author or an operator wrote: special tokens are recognised in it.
    ///
    /// # Errors
    ///
    /// [`TextError::Encode`] if the library fails.
    pub fn encode_markup(&self, text: &str, ends: Ends) -> Result<Vec<TokenId>, TextError> {
        self.encode(text, Recognise::Outside(&[]), ends)
    }

    /// Tokens of a rendered conversation: special tokens are recognised where nothing of them came from a
    /// message.
    ///
    /// Text on both sides of a border between markup and content is tokenised together, as it is without
    /// borders. Nothing is put before or after it: a chat template writes its own BOS.
    ///
    /// # Errors
    ///
    /// [`TextError::Encode`] if the library fails.
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Result<Vec<TokenId>, TextError> {
        self.encode(prompt.text(), Recognise::Outside(prompt.content()), Ends::Omit)
    }

    /// The text of `tokens`, where invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// [`TextError::UnknownToken`] for an id that the vocabulary does not have.
    pub fn decode(&self, tokens: &[TokenId], special: SpecialText) -> Result<String, TextError> {
        let mut detokenizer = Detokenizer::new(self, Position::Start, special);
        let mut text = String::new();
        for &token in tokens {
            detokenizer.push(self, token, &mut text)?;
        }
        detokenizer.finish(&mut text);
        Ok(text)
    }

    /// The bytes one token stands for. They need not be whole characters.
    ///
    /// # Errors
    ///
    /// [`TextError::UnknownToken`] for an id that the vocabulary does not have.
    pub fn token_bytes(&self, token: TokenId) -> Result<&[u8], TextError> {
        Ok(self.table.get(token)?.bytes)
    }

    /// One token as it is written in the vocabulary, such as `Ġhello`.
    pub fn token_text(&self, token: TokenId) -> Option<String> {
        self.library.id_to_token(token.0)
    }

    /// The token that is written as `text` in the vocabulary.
    pub fn token_id(&self, text: &str) -> Option<TokenId> {
        self.library.token_to_id(text).map(TokenId)
    }

    /// One more than the largest token id. The model's output may be wider: such rows are padding.
    pub fn vocab_size(&self) -> u32 {
        self.table.vocab_size()
    }

    /// The tokens with a part to play: BOS, EOS, unknown, padding.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Whether `token` steers the model and does not stand for text.
    pub fn is_special(&self, token: TokenId) -> bool {
        self.added.is_special(token.0)
    }

    /// The texts of all special tokens, in no order.
    pub fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.added.iter().filter(|(_, token)| token.special).map(|(_, token)| token.content.as_str())
    }

    pub(crate) fn table(&self) -> &TokenTable {
        &self.table
    }

    fn encode(&self, text: &str, recognise: Recognise<'_>, ends: Ends) -> Result<Vec<TokenId>, TextError> {
        let ids = self
            .encode_pieces(text, recognise)
            .map_err(|source| TextError::Encode { len_bytes: text.len(), source })?;
        Ok(match ends {
            Ends::Add => self.ends.around(ids),
            Ends::Omit => ids,
        })
    }

    fn encode_pieces(&self, text: &str, recognise: Recognise<'_>) -> Result<Vec<TokenId>, BoxError> {
        let mut pieces = self.added.cut(text, self.library.get_normalizer(), recognise)?;
        if let Some(pre_tokenizer) = self.library.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.model_tokens(piece.get()))?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(splits
            .into_iter()
            .filter_map(|(_, _, tokens)| tokens.as_ref())
            .flatten()
            .map(|token| TokenId(token.id))
            .collect())
    }

    /// The model's tokens of a piece of text, none of them special.
    ///
    /// A vocabulary may hold a special token that reads like a word (`end`), and a model that looks whole
    /// words up first would find it. Such a piece is tokenised character by character.
    fn model_tokens(&self, piece: &str) -> Result<Vec<Token>, BoxError> {
        let model = self.library.get_model();
        let tokens = model.tokenize(piece)?;
        // The token for the unknown is special too, but does not read as the text it stands for.
        let is_forged = |text: &str, token: &Token| {
            self.added.is_special(token.id)
                && text.get(token.offsets.0..token.offsets.1) == Some(&token.value)
        };
        if !tokens.iter().any(|token| is_forged(piece, token)) {
            return Ok(tokens);
        }
        let mut spelled = Vec::new();
        for character in piece.chars() {
            let text = character.to_string();
            spelled.extend(model.tokenize(&text)?.into_iter().filter(|token| !is_forged(&text, token)));
        }
        Ok(spelled)
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! The tokens that a tokenizer puts before and after a text.

use spillway_types::TokenId;
use tokenizers::{Encoding, Token, Tokenizer as Library};

use crate::error::TextError;

/// Tokens put before (usually BOS) and after (usually none) a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SequenceEnds {
    pub(super) before: Vec<TokenId>,
    pub(super) after: Vec<TokenId>,
}

impl SequenceEnds {
    /// Learns them from a tokenizer by passing one token through its post-processor.
    ///
    /// Post-processors come in many forms, but each of those in use does the same to every text.
    pub(super) fn probe(library: &Library) -> Result<Self, TextError> {
        // No vocabulary reaches this id, so the token is found again for certain.
        const PROBE: u32 = u32::MAX;
        let text = Encoding::from_tokens(vec![Token::new(PROBE, "a".to_owned(), (0, 1))], 0);
        let full =
            library.post_process(text, None, true).map_err(|source| TextError::TokenizerJson { source })?;
        let mut parts = full.get_ids().split(|&id| id == PROBE);
        let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(TextError::UnsupportedPostProcessor);
        };
        let tokens = |ids: &[u32]| ids.iter().copied().map(TokenId).collect();
        Ok(Self { before: tokens(before), after: tokens(after) })
    }

    /// Puts the ends around `tokens`.
    pub(super) fn around(&self, tokens: Vec<TokenId>) -> Vec<TokenId> {
        if self.before.is_empty() && self.after.is_empty() {
            return tokens;
        }
        [self.before.as_slice(), &tokens, &self.after].concat()
    }
}

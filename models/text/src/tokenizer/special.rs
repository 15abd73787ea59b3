//! The tokens with a part to play.

use spillway_types::TokenId;
use tokenizers::Tokenizer as Library;

use crate::error::TextError;
use crate::tokenizer_config::TokenizerConfig;

/// Ids of the tokens with a part to play, where the model has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialTokens {
    /// Begins a sequence.
    pub bos: Option<TokenId>,
    /// Ends a sequence. The generation config may name more of them.
    pub eos: Option<TokenId>,
    /// Stands for what the vocabulary cannot spell.
    pub unk: Option<TokenId>,
    /// Fills up batches in training.
    pub pad: Option<TokenId>,
}

impl SpecialTokens {
    /// Looks the texts of a tokenizer's configuration up in its vocabulary.
    pub(super) fn from_config(config: &TokenizerConfig, library: &Library) -> Result<Self, TextError> {
        let find = |role, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match library.token_to_id(text) {
                Some(id) => Ok(Some(TokenId(id))),
                None => Err(TextError::MissingSpecialToken { role, token: text.clone() }),
            },
        };
        Ok(Self {
            bos: find("bos", &config.bos_token)?,
            eos: find("eos", &config.eos_token)?,
            unk: find("unk", &config.unk_token)?,
            pad: find("pad", &config.pad_token)?,
        })
    }
}

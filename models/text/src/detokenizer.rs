//! Token ids to text, one token at a time.
//!
//! A character may be spread over several tokens, so its bytes are held until it is complete; what is pushed
//! out is always whole characters. A byte that can never become part of a character turns into U+FFFD as soon
//! as that is certain. Each token costs time in proportion to its own length.
//!
//! # Invariants
//!
//! - The pieces, joined, are the text of all tokens decoded at once ([`String::from_utf8_lossy`] of their
//!   bytes).
//! - At most three bytes are held.
//!
//! In a request's path: the engine's output side, after the sampler and before [`crate::StopMatcher`].

use spillway_types::TokenId;

use crate::error::TextError;
use crate::tokenizer::{SpecialText, Tokenizer};

/// Where in a text the first token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the start of a text. Tokenizers of the `SentencePiece` family put a space there, which is dropped
    /// again.
    Start,
    /// After a prompt. A space belongs to the text.
    AfterPrompt,
}

/// Decodes the tokens of one sequence as they come.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    /// The beginning of a character whose other bytes have not come yet.
    held: Vec<u8>,
    drops_space: bool,
    special: SpecialText,
}

impl Detokenizer {
    /// A detokenizer for one sequence of `tokenizer`'s tokens.
    pub fn new(tokenizer: &Tokenizer, position: Position, special: SpecialText) -> Self {
        let drops_space = match position {
            Position::Start => tokenizer.table().drops_first_space(),
            Position::AfterPrompt => false,
        };
        Self { held: Vec::with_capacity(4), drops_space, special }
    }

    /// Takes one token and appends the text that is now certain to `text`.
    ///
    /// `tokenizer` must be the one that this detokenizer was made for.
    ///
    /// # Errors
    ///
    /// [`TextError::UnknownToken`] for an id that the vocabulary does not have.
    pub fn push(
        &mut self,
        tokenizer: &Tokenizer,
        token: TokenId,
        text: &mut String,
    ) -> Result<(), TextError> {
        let token = tokenizer.table().get(token)?;
        if token.special && self.special == SpecialText::Skip {
            return Ok(());
        }
        let mut bytes = token.bytes;
        if self.drops_space && !bytes.is_empty() {
            self.drops_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.push_bytes(bytes, text);
        Ok(())
    }

    /// Ends the text: a character that was never completed becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.held.is_empty() {
            self.held.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn push_bytes(&mut self, bytes: &[u8], text: &mut String) {
        if self.held.is_empty()
            && let Ok(whole) = str::from_utf8(bytes)
        {
            text.push_str(whole);
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut num_done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            num_done += chunk.valid().len();
            let invalid = chunk.invalid();
            if num_done + invalid.len() == self.held.len() && may_continue(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                num_done += invalid.len();
            }
        }
        self.held.drain(..num_done);
    }
}

/// Whether `bytes`, which are no whole character, are the beginning of one.
fn may_continue(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests;

//! Puts pieces of thinking together to the blocks that clients send back in the next turn.
//!
//! Blocks are told only where one must come back as it was: one with a signature, or one that the provider hides. For all
//! else the words alone do.

use spillway_api::openai::ThinkingBlock;
use spillway_types::ReasoningDelta;

/// What a choice has thought, as far as no block of it is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Thoughts {
    /// Words of the open block.
    open: String,
    /// Whether a block was told, so that all others of the choice are.
    tells_blocks: bool,
}

impl Thoughts {
    /// The blocks that are complete with this piece.
    pub(crate) fn add(&mut self, delta: ReasoningDelta) -> Vec<ThinkingBlock> {
        self.open.push_str(&delta.text);
        let mut blocks = Vec::new();
        if delta.signature.is_some() {
            self.tells_blocks = true;
            let thinking = std::mem::take(&mut self.open);
            blocks.push(ThinkingBlock::Thinking { thinking, signature: delta.signature });
        }
        if let Some(data) = delta.redacted {
            self.tells_blocks = true;
            blocks.extend(self.end());
            blocks.push(ThinkingBlock::RedactedThinking { data });
        }
        blocks
    }

    /// The block that is open at the end of a choice, if blocks are told.
    pub(crate) fn end(&mut self) -> Option<ThinkingBlock> {
        if !self.tells_blocks || self.open.is_empty() {
            return None;
        }
        Some(ThinkingBlock::Thinking { thinking: std::mem::take(&mut self.open), signature: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> ReasoningDelta {
        ReasoningDelta { choice: 0, text: text.to_owned(), signature: None, redacted: None }
    }

    fn block(thinking: &str, signature: Option<&str>) -> ThinkingBlock {
        ThinkingBlock::Thinking { thinking: thinking.to_owned(), signature: signature.map(str::to_owned) }
    }

    #[test]
    fn a_signature_makes_a_block_of_all_words_before_it() {
        let mut thoughts = Thoughts::default();
        assert_eq!(thoughts.add(words("a")), []);
        assert_eq!(thoughts.add(words("b")), []);
        let signed = ReasoningDelta { signature: Some("s".to_owned()), ..words("c") };
        assert_eq!(thoughts.add(signed), [block("abc", Some("s"))]);
        assert_eq!((thoughts.add(words("d")), thoughts.end()), (vec![], Some(block("d", None))));
    }

    #[test]
    fn hidden_thinking_is_a_block_after_the_words_before_it() {
        let mut thoughts = Thoughts::default();
        thoughts.add(words("a"));
        let hidden = ReasoningDelta { redacted: Some("eA==".to_owned()), ..words("") };
        let data = "eA==".to_owned();
        assert_eq!(thoughts.add(hidden), [block("a", None), ThinkingBlock::RedactedThinking { data }]);
    }

    #[test]
    fn words_that_nobody_signs_make_no_blocks() {
        let mut thoughts = Thoughts::default();
        assert_eq!((thoughts.add(words("a")), thoughts.end()), (vec![], None));
    }
}

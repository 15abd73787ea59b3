//! What comes back while a request is served.

use crate::{FinishReason, ScoredToken};

/// Tokens of one request, as they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, counted once however many choices there are.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were already in the prefix cache.
    pub cached_tokens: u32,
    /// Generated tokens of all choices.
    pub completion_tokens: u32,
}

/// New text of one choice.
#[derive(Debug, Clone, PartialEq)]
pub struct TextDelta {
    /// Index of the choice, from 0 to `n - 1`.
    pub choice: u32,
    /// Text that is final: whole characters, no part of a stop string. Empty while text is held back.
    pub text: String,
    /// The tokens that came with it, in order.
    pub tokens: Vec<ScoredToken>,
}

/// One step of an answer. A stream is `Started`, `PromptScored` if that was asked for, any number of `Delta`, one
/// `Finished` for each choice, `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// The prompt was accepted and has this many tokens.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
    },
    /// More tokens of the prompt with their scores, in order from the second on: nothing comes before the first, so it
    /// has none. All come before the first `Delta`.
    PromptScored {
        /// The next tokens of the prompt.
        tokens: Vec<ScoredToken>,
    },
    /// More text of one choice.
    Delta(TextDelta),
    /// One choice is complete.
    Finished {
        /// Index of the choice.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
    },
    /// All choices are complete; nothing follows.
    Done(Usage),
}

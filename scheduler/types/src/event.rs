//! What comes back while a request is served.

use crate::{FinishReason, TokenId};

/// Tokens of one request, as they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, counted once however many choices there are.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values were already in the prefix cache.
    pub cached_tokens: u32,
    /// Of these, tokens that a provider wrote to its cache, and bills as such; none of `cached_tokens`.
    pub cache_write_tokens: u32,
    /// Generated tokens of all choices.
    pub completion_tokens: u32,
}

/// A token with how it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct SpelledToken {
    /// The token; absent where a server tells only how it reads.
    pub token: Option<TokenId>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The bytes that it stands for, which need not be whole characters.
    pub bytes: Vec<u8>,
}

/// A token of a prompt or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerToken {
    /// The token; absent where a server tells only how it reads.
    pub token: Option<TokenId>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// More about it, if that was asked for.
    pub detail: Option<TokenDetail>,
}

/// How a token reads, and how it stood among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenDetail {
    /// The bytes that it stands for, which need not be whole characters.
    pub bytes: Vec<u8>,
    /// Characters of the text before it.
    pub text_offset: u32,
    /// How many tokens were at least as likely, itself included.
    pub rank: u32,
    /// The most likely tokens, best first.
    pub top: Vec<SpelledToken>,
}

/// The prompt as it reads, told before the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptText {
    /// Its text.
    pub text: String,
    /// Its first token, which has no probability, since nothing stands before it.
    pub first: TokenId,
    /// The bytes of the first token.
    pub first_bytes: Vec<u8>,
}

/// New text of one choice.
#[derive(Debug, Clone, PartialEq)]
pub struct TextDelta {
    /// Index of the choice, from 0 to `n - 1`.
    pub choice: u32,
    /// Text that is final: whole characters, no part of a stop string. Empty while text is held back.
    pub text: String,
    /// The tokens that came with it, in order.
    pub tokens: Vec<AnswerToken>,
}

/// More of what a model thinks before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasoningDelta {
    /// Index of the choice.
    pub choice: u32,
    /// New words; empty when only the signature comes.
    pub text: String,
    /// The signature of the words so far, which ends their block.
    pub signature: Option<String>,
    /// Thinking that the provider hides, as base64: a block of its own.
    pub redacted: Option<String>,
}

/// More of a call that a model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Index of the choice.
    pub choice: u32,
    /// Index of the call among the choice's calls, from 0.
    pub call: u32,
    /// The call's id and the function's name, in its first delta and no other.
    pub opening: Option<(String, String)>,
    /// More text of the arguments' JSON.
    pub arguments: String,
}

/// What a client asked to stop at, and was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopMatch {
    /// A stop string.
    Text(String),
    /// A stop token that is none of the model's own end tokens.
    Token(TokenId),
}

/// One step of an answer. A stream is `Started`, `Prompt` and any number of `PromptScored` if they were asked for, any
/// number of `Delta`, `Reasoning` and `ToolCall`, one `Finished` for each choice, `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// The prompt was accepted.
    Started {
        /// Tokens of the prompt; absent where only the usage tells.
        prompt_tokens: Option<u32>,
        /// What a provider calls the request, by which it can be asked about it and its bill.
        provider_request_id: Option<String>,
    },
    /// The text of the prompt.
    Prompt {
        /// Index of the first of its choices: 0, unless several requests are joined.
        choice: u32,
        /// The text.
        prompt: PromptText,
    },
    /// More tokens of the prompt with their scores, in order from the second on. All come before the first `Delta`.
    PromptScored {
        /// Index of the first of its choices.
        choice: u32,
        /// The next tokens of the prompt.
        tokens: Vec<AnswerToken>,
    },
    /// More text of one choice.
    Delta(TextDelta),
    /// More of what the model thinks.
    Reasoning(ReasoningDelta),
    /// More of a call.
    ToolCall(ToolCallDelta),
    /// One choice is complete.
    Finished {
        /// Index of the choice.
        choice: u32,
        /// Why it ended.
        reason: FinishReason,
        /// What of the client's it stopped at, if that is why.
        stop: Option<StopMatch>,
    },
    /// All choices are complete; nothing follows.
    Done(Usage),
}

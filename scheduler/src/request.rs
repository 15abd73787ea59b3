//! What is submitted: a tokenised prompt and when its sequences end.

use std::num::NonZeroU32;
use std::sync::Arc;

use spillway_types::{CacheSalt, Priority, RequestId, TokenId};

/// One request, tokenised. It fans out to `n` sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitRequest {
    /// Unique among the requests being served.
    pub request_id: RequestId,
    /// The prompt's tokens.
    pub prompt: Vec<TokenId>,
    /// Sequences to generate for the one prompt.
    pub n: NonZeroU32,
    /// Most tokens to generate for each sequence; the rest of the context if absent.
    pub max_tokens: Option<NonZeroU32>,
    /// Tokens that end a sequence when sampled. Empty when the end is to be ignored.
    pub end_tokens: Arc<[TokenId]>,
    /// Class in the waiting queue.
    pub priority: Priority,
    /// Owner of the prefix-cache entries; blocks are shared only between equal salts.
    pub cache_salt: Option<CacheSalt>,
    /// Whether the prompt may begin with blocks that were computed before.
    pub prefix: PrefixUse,
}

/// Whether a prompt may begin with blocks that were computed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PrefixUse {
    /// It may.
    #[default]
    Reuse,
    /// The first sequence computes all of it, as when the logits of its tokens are wanted. Its siblings share its
    /// blocks, and later prompts find them.
    ComputeAll,
}

//! Keeps prompts that begin alike together, so that a replica's prefix cache is of use.
//!
//! Rendezvous hashing: each prompt's beginning ranks the replicas in an order of its own. The order of the others stays
//! when a replica goes or comes, and every gateway of the same version finds the same one.
//!
//! Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998.

use std::hash::{DefaultHasher, Hash, Hasher};

use spillway_types::{CacheSalt, GenerateRequest, Prompt};

/// Bytes of a prompt that are looked at: about a page, more than most system prompts differ in.
const PREFIX_BYTES: usize = 1024;

/// The beginning of a prompt, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrefixKey(u64);

impl PrefixKey {
    pub(super) fn of(request: &GenerateRequest) -> Self {
        let mut hasher = DefaultHasher::new();
        request.cache_salt.as_ref().map(CacheSalt::as_bytes).hash(&mut hasher);
        match &request.prompt {
            Prompt::Text(text) => add(&mut hasher, text, PREFIX_BYTES),
            Prompt::Tokens(tokens) => {
                tokens[..tokens.len().min(PREFIX_BYTES / size_of::<u32>())].hash(&mut hasher);
                0
            }
            Prompt::Chat(chat) => chat.messages.iter().fold(PREFIX_BYTES, |left, message| {
                if left > 0 {
                    message.role.hash(&mut hasher);
                }
                add(&mut hasher, &message.content, left)
            }),
        };
        Self(hasher.finish())
    }

    /// How high a replica stands with this prompt.
    pub(super) fn rank(self, replica: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, replica).hash(&mut hasher);
        hasher.finish()
    }
}

/// Adds at most `left` bytes of a text; how many are left after it.
fn add(hasher: &mut DefaultHasher, text: &str, left: usize) -> usize {
    let taken = &text.as_bytes()[..text.len().min(left)];
    taken.hash(hasher);
    left - taken.len()
}

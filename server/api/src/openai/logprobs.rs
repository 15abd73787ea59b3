//! Log-probabilities of tokens, in the shapes of both generating endpoints.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What is known of the tokens of a chat answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChatLogprobs {
    /// One for each token, in order.
    pub content: Vec<ChatTokenLogprob>,
}

/// A token of a chat answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatTokenLogprob {
    /// The token and its log-probability.
    #[serde(flatten)]
    pub token: ChatTopLogprob,
    /// The most likely tokens in its place, best first.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// A token that stands or could have stood somewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatTopLogprob {
    /// Its text. Bytes that are no whole characters read as U+FFFD.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is known of the tokens of a completion: lists of equal length.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompletionLogprobs {
    /// Characters of the text before each token.
    pub text_offset: Vec<u32>,
    /// The log-probability of each token; `null` for the first token of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The text of each token.
    pub tokens: Vec<String>,
    /// The most likely tokens in its place; `null` for the first token of a prompt.
    pub top_logprobs: Vec<Option<TopTexts>>,
}

/// Texts with log-probabilities as a JSON object, best first. Of tokens that read alike only the best is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopTexts(Vec<(String, f32)>);

impl TopTexts {
    /// Takes pairs in their order, without those whose text has come.
    pub fn new(pairs: impl IntoIterator<Item = (String, f32)>) -> Self {
        let mut unique: Vec<(String, f32)> = Vec::new();
        for (text, logprob) in pairs {
            if unique.iter().all(|(other, _)| *other != text) {
                unique.push((text, logprob));
            }
        }
        Self(unique)
    }
}

impl Serialize for TopTexts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, logprob) in &self.0 {
            map.serialize_entry(text, logprob)?;
        }
        map.end()
    }
}

/// The tokens of a prompt by position; `null` for the first. Each holds the prompt's own token and the most likely ones,
/// by token id.
pub type PromptLogprobs = Vec<Option<BTreeMap<u32, PromptLogprob>>>;

/// A token that stands or could have stood somewhere in a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptLogprob {
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// How many tokens were at least as likely, itself included.
    pub rank: u32,
    /// Its text.
    pub decoded_token: String,
}

/// What of the client's an answer stopped at: a stop string, or the id of a stop token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StopReason {
    /// A stop string.
    Text(String),
    /// A stop token.
    Token(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_order_and_the_best_of_those_that_read_alike() {
        let top = TopTexts::new([("b".to_owned(), -0.5), ("a".to_owned(), -1.0), ("b".to_owned(), -2.0)]);
        assert_eq!(serde_json::to_string(&top).expect("strings are keys"), r#"{"b":-0.5,"a":-1.0}"#);
    }
}

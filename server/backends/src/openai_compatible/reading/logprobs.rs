//! Log-probabilities in the forms of both endpoints.

use std::collections::BTreeMap;

use spillway_types::{AnswerToken, SpelledToken, TokenDetail, TokenId};

use crate::openai_compatible::fault::{Fault, malformed};
use crate::openai_compatible::wire::{ChatToken, Logprobs};

/// The tokens that came with a piece of text, before which a choice had `text_offset` characters.
pub(super) fn tokens(logprobs: Logprobs, text_offset: u32) -> Result<Vec<AnswerToken>, Fault> {
    let mut offset = text_offset;
    match (logprobs.content, logprobs.tokens) {
        (Some(content), _) => Ok(content.into_iter().map(|token| of_chat(token, &mut offset)).collect()),
        (None, Some(tokens)) => {
            let scores = logprobs.of_tokens.unwrap_or_default();
            let top = logprobs.of_top.unwrap_or_default();
            of_completion(tokens, &scores, top, &mut offset)
        }
        (None, None) => Ok(Vec::new()),
    }
}

fn of_chat(told: ChatToken, offset: &mut u32) -> AnswerToken {
    let logprob = told.logprob;
    let token = told.id.map(TokenId);
    let top = told.top_logprobs.unwrap_or_default().into_iter().map(|best| SpelledToken {
        token: best.id.map(TokenId),
        logprob: best.logprob,
        bytes: best.bytes.unwrap_or_else(|| best.token.into_bytes()),
    });
    let bytes = told.bytes.unwrap_or_else(|| told.token.into_bytes());
    AnswerToken { token, logprob, detail: Some(detail(bytes, logprob, top.collect(), offset)) }
}

/// The lists of a completion name tokens by their text alone.
fn of_completion(
    tokens: Vec<String>,
    scores: &[Option<f32>],
    top: Vec<Option<BTreeMap<String, f32>>>,
    offset: &mut u32,
) -> Result<Vec<AnswerToken>, Fault> {
    let mut top = top.into_iter();
    let mut read = Vec::with_capacity(tokens.len());
    for (index, text) in tokens.into_iter().enumerate() {
        let Some(Some(logprob)) = scores.get(index).copied() else {
            return Err(malformed("a token came without its log-probability"));
        };
        let spelled =
            |(text, logprob): (String, f32)| SpelledToken { token: None, logprob, bytes: text.into_bytes() };
        let mut best: Vec<SpelledToken> =
            top.next().flatten().unwrap_or_default().into_iter().map(spelled).collect();
        best.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
        let detail = detail(text.into_bytes(), logprob, best, offset);
        read.push(AnswerToken { token: None, logprob, detail: Some(detail) });
    }
    Ok(read)
}

/// No server tells the rank of a token, so it is counted among the alternatives that are told: one that stands below all
/// of them is said to be the next.
fn detail(bytes: Vec<u8>, logprob: f32, top: Vec<SpelledToken>, offset: &mut u32) -> TokenDetail {
    let num_better = top.iter().filter(|best| best.logprob > logprob).count() as u32;
    let text_offset = *offset;
    // Bytes that go on with a character begin none.
    let num_chars = bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u32;
    *offset = offset.saturating_add(num_chars);
    TokenDetail { bytes, text_offset, rank: num_better + 1, top }
}

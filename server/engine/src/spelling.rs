//! How tokens read, for clients that ask for log-probabilities.

use spillway_text::Tokenizer;
use spillway_types::{AnswerToken, ScoredToken, SpelledToken, TokenDetail, TokenId};

/// A token as it is told. `text_offset` counts the characters of the text before it.
pub(crate) fn told(tokenizer: &Tokenizer, scored: ScoredToken, text_offset: u32) -> AnswerToken {
    let ScoredToken { token, logprob, ranking } = scored;
    let detail = ranking.map(|ranking| TokenDetail {
        bytes: bytes(tokenizer, token),
        text_offset,
        rank: ranking.rank,
        top: ranking
            .top
            .into_iter()
            .map(|best| SpelledToken {
                token: Some(best.token),
                logprob: best.logprob,
                bytes: bytes(tokenizer, best.token),
            })
            .collect(),
    });
    AnswerToken { token: Some(token), logprob, detail }
}

/// The bytes of a token. A model's output may be wider than its vocabulary: such rows stand for nothing.
fn bytes(tokenizer: &Tokenizer, token: TokenId) -> Vec<u8> {
    tokenizer.token_bytes(token).map(<[u8]>::to_vec).unwrap_or_default()
}

//! BPE of the `SentencePiece` family, as in Llama 2: merges follow from the tokens' scores, unknown
//! characters become bytes.
//!
//! Text is not cut into words: a space becomes `▁`, one is put before the text, and the rest is merging. The
//! rules are written out of the scores in the order that Hugging Face uses in its conversion, so that ids
//! agree with its tokenizers.

use std::cmp::Reverse;
use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{DecoderWrapper, Tokenizer as Library};

use super::{GgufVocabulary, TokenType, ids_by_text};
use crate::error::TextError;

/// Builds the library's tokenizer from tokens and scores.
pub(super) fn build(vocabulary: &GgufVocabulary) -> Result<Library, TextError> {
    vocabulary.check_length("scores", vocabulary.scores.len())?;
    let mut model = BPE::builder()
        .vocab_and_merges(ids_by_text(vocabulary), merges_of(vocabulary))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unk) = vocabulary.special_tokens()?.unk {
        model = model.unk_token(vocabulary.tokens[unk.0 as usize].clone());
    }
    let model = model.build().map_err(|source| TextError::Vocabulary { source })?;
    let space_prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let mut library = Library::new(model);
    library
        .with_normalizer(Some(normalizer(space_prefix)?))
        .map_err(|source| TextError::Vocabulary { source })?
        .with_decoder(Some(decoder(space_prefix)?));
    Ok(library)
}

fn normalizer(space_prefix: bool) -> Result<NormalizerWrapper, TextError> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if space_prefix {
        steps.push(Prepend::new("▁".to_owned()).into());
    }
    let marks = Replace::new(" ", "▁").map_err(|source| TextError::Vocabulary { source })?;
    steps.push(marks.into());
    Ok(Sequence::new(steps).into())
}

fn decoder(space_prefix: bool) -> Result<DecoderWrapper, TextError> {
    let spaces = Replace::new("▁", " ").map_err(|source| TextError::Vocabulary { source })?;
    let mut steps: Vec<DecoderWrapper> = vec![spaces.into(), ByteFallback::new().into(), Fuse::new().into()];
    if space_prefix {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    Ok(DecoderSequence::new(steps).into())
}

/// Every way to make a token out of two others, best score first.
fn merges_of(vocabulary: &GgufVocabulary) -> Vec<(String, String)> {
    let mergeable = |token_idx| match vocabulary.token_type(token_idx) {
        TokenType::Normal | TokenType::Unused => true,
        TokenType::Unknown | TokenType::Control | TokenType::UserDefined | TokenType::Byte => false,
    };
    let ids: HashMap<&str, usize> = (0..vocabulary.tokens.len())
        .filter(|&token_idx| mergeable(token_idx))
        .map(|token_idx| (vocabulary.tokens[token_idx].as_str(), token_idx))
        .collect();

    let mut merges = Vec::new();
    for (token_idx, token) in
        vocabulary.tokens.iter().enumerate().filter(|(token_idx, _)| mergeable(*token_idx))
    {
        for (border, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(border);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                merges.push(Merge { score: vocabulary.scores[token_idx], left, right, left_id, right_id });
            }
        }
    }
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.tie_break().cmp(&b.tie_break())));
    merges.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}

struct Merge<'a> {
    score: f32,
    left: &'a str,
    right: &'a str,
    left_id: usize,
    right_id: usize,
}

impl Merge<'_> {
    /// Among rules of one score, those with the longer left and then right side go first.
    fn tie_break(&self) -> impl Ord {
        let num_chars = |text: &str| Reverse(text.chars().count());
        (num_chars(self.left), num_chars(self.right), self.left_id, self.right_id)
    }
}

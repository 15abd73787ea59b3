//! The pre-tokenizers that GGUF names: how a text is cut into words before byte-level BPE.
//!
//! Each model family has its own pattern, and a wrong one gives wrong tokens without a sign. So a name that
//! is not here is an error, and a new one is a row in [`FAMILIES`].
//!
//! Sources: the `tokenizer.json` files of `SmolLM2`, Llama 3, Qwen 2 and GPT-2.

use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::error::TextError;

/// How one family cuts text.
#[derive(Debug, Clone, Copy)]
enum Family {
    /// Words with the space before them, runs of digits, runs of other signs.
    Gpt2,
    /// As GPT-2, with every digit by itself.
    SmolLm,
    /// Llama 3: at most three digits together, line breaks with the signs before them.
    Llama3,
    /// As Llama 3, with every digit by itself, of NFC text.
    Qwen2,
}

/// Names in GGUF files, and what they mean.
const FAMILIES: [(&str, Family); 8] = [
    ("gpt-2", Family::Gpt2),
    ("default", Family::Gpt2),
    ("smollm", Family::SmolLm),
    ("llama-bpe", Family::Llama3),
    ("llama3", Family::Llama3),
    ("llama-v3", Family::Llama3),
    ("qwen2", Family::Qwen2),
    ("deepseek-r1-qwen", Family::Qwen2),
];

const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Everything that happens to a text before byte-level BPE.
#[derive(Debug)]
pub(super) struct PreTokenization {
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    /// Whether a word that is a token is that token, whatever the merge rules say.
    pub(super) whole_words_first: bool,
}

impl PreTokenization {
    /// The rules of a name in a GGUF file. Files without a name are older than the key and mean GPT-2's.
    pub(super) fn named(name: Option<&str>) -> Result<Self, TextError> {
        let name = name.unwrap_or("gpt-2");
        match FAMILIES.iter().find(|(known, _)| *known == name) {
            Some((_, family)) => Self::of(*family),
            None => Err(TextError::UnknownPreTokenizer {
                pre: name.to_owned(),
                known: FAMILIES.map(|(known, _)| known).join(", "),
            }),
        }
    }

    fn of(family: Family) -> Result<Self, TextError> {
        let words = ByteLevel::new(false, true, true);
        let bytes_only = ByteLevel::new(false, true, false);
        Ok(match family {
            Family::Gpt2 => Self { normalizer: None, pre_tokenizer: words.into(), whole_words_first: false },
            Family::SmolLm => Self {
                normalizer: None,
                pre_tokenizer: chain(Digits::new(true), words),
                whole_words_first: false,
            },
            Family::Llama3 => Self {
                normalizer: None,
                pre_tokenizer: chain(split(LLAMA3_PATTERN)?, bytes_only),
                whole_words_first: true,
            },
            Family::Qwen2 => Self {
                normalizer: Some(NFC.into()),
                pre_tokenizer: chain(split(QWEN2_PATTERN)?, bytes_only),
                whole_words_first: false,
            },
        })
    }
}

fn split(pattern: &str) -> Result<Split, TextError> {
    Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|source| TextError::Vocabulary { source })
}

fn chain(first: impl Into<PreTokenizerWrapper>, then: ByteLevel) -> PreTokenizerWrapper {
    Sequence::new(vec![first.into(), then.into()]).into()
}

//! The pre-tokenizers that GGUF names: how a text is cut into words before byte-level BPE.
//!
//! Each model family has its own patterns, and a wrong one gives wrong tokens without a sign. So a name that
//! is not here is an error, and a new one is a word in [`FAMILIES`].
//!
//! Sources: the `tokenizer.json` files of GPT-2, `SmolLM2`, `StarCoder`, Llama 3, Phi-4, Qwen 2, Mistral Nemo, Phi-4-mini and
//! `DeepSeek`; which name stands for which is llama.cpp's converter's choice.

use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::error::TextError;

/// How one family cuts text.
#[derive(Debug)]
pub(super) struct Family {
    /// What its members are called in GGUF files.
    names: &'static [&'static str],
    /// What is done to a text before it is cut.
    form: Form,
    /// What cuts it, one after the other; the last step is always that characters become bytes.
    steps: &'static [Step],
    /// Whether a word that is a token is that token, whatever the merge rules say.
    pub(super) whole_words_first: bool,
    /// Whether a text begins with BOS if the file does not say.
    pub(super) adds_bos: bool,
}

/// What is done to a text before it is cut.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Nothing.
    AsIs,
    /// Unicode's composed form.
    Composed,
}

/// One cut.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Words with the space before them, runs of digits, runs of other signs, as GPT-2 has them.
    Gpt2Words,
    /// Every digit by itself.
    Digits,
    /// What matches a pattern by itself.
    Pattern(&'static str),
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// Every family that is known. Of families that differ in nothing but the name there is one.
const FAMILIES: [Family; 9] = [
    Family { names: &["gpt-2", "phi-2", "default"], steps: &[Step::Gpt2Words], ..PLAIN },
    Family {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        steps: &[Step::Digits, Step::Gpt2Words],
        ..PLAIN
    },
    Family {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
        steps: &[Step::Pattern(LLAMA3)],
        whole_words_first: true,
        adds_bos: true,
        ..PLAIN
    },
    Family { names: &["dbrx", "smaug-bpe"], steps: &[Step::Pattern(LLAMA3)], ..PLAIN },
    Family {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        form: Form::Composed,
        steps: &[Step::Pattern(QWEN2)],
        ..PLAIN
    },
    Family {
        names: &["tekken"],
        steps: &[Step::Pattern(TEKKEN)],
        whole_words_first: true,
        adds_bos: true,
        ..PLAIN
    },
    Family { names: &["gpt-4o", "llama4"], steps: &[Step::Pattern(GPT4O)], ..PLAIN },
    Family {
        names: &["deepseek-coder"],
        steps: &[
            Step::Pattern(r"[\r\n]"),
            Step::Pattern(r"\s?\p{L}+"),
            Step::Pattern(r"\s?\p{P}+"),
            Step::Pattern(r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+"),
            Step::Digits,
        ],
        ..PLAIN
    },
    Family {
        names: &["deepseek-v3"],
        steps: &[
            Step::Pattern(r"\p{N}{1,3}"),
            Step::Pattern(r"[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+"),
            Step::Pattern(DEEPSEEK_V3),
        ],
        ..PLAIN
    },
];

/// What most families have in common.
const PLAIN: Family =
    Family { names: &[], form: Form::AsIs, steps: &[], whole_words_first: false, adds_bos: false };

impl Family {
    /// The family of a name in a GGUF file. Files without a name are older than the key and mean GPT-2's.
    pub(super) fn named(name: Option<&str>) -> Result<&'static Self, TextError> {
        let name = name.unwrap_or("gpt-2");
        FAMILIES.iter().find(|family| family.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.names).copied().collect();
            TextError::UnknownPreTokenizer { pre: name.to_owned(), known: known.join(", ") }
        })
    }

    /// What is done to a text before it is cut.
    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        match self.form {
            Form::AsIs => None,
            Form::Composed => Some(NFC.into()),
        }
    }

    /// What cuts a text into words, and spells them in the characters that stand for bytes.
    pub(super) fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper, TextError> {
        let mut steps = Vec::with_capacity(self.steps.len() + 1);
        for step in self.steps {
            steps.push(match step {
                Step::Gpt2Words => ByteLevel::new(false, true, true).into(),
                Step::Digits => Digits::new(true).into(),
                Step::Pattern(pattern) => split(pattern)?.into(),
            });
        }
        if !matches!(self.steps.last(), Some(Step::Gpt2Words)) {
            steps.push(ByteLevel::new(false, true, false).into());
        }
        Ok(Sequence::new(steps).into())
    }
}

fn split(pattern: &str) -> Result<Split, TextError> {
    Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|source| TextError::Vocabulary { source })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    /// The lengths in characters of the words of a text.
    fn words(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> Vec<u64> {
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces).expect("any text can be cut");
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Char);
        splits.into_iter().map(|(_, (start, end), _)| (end - start) as u64).collect()
    }

    #[test]
    fn every_family_cuts_texts_as_its_patterns_do_elsewhere() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pre_tokenizers.json");
        let golden = std::fs::read(&file).expect("the golden file is there");
        let golden: serde_json::Value = serde_json::from_slice(&golden).expect("goldens are JSON");
        let cases = golden["cases"].as_array().expect("a list");
        assert!(cases.len() >= 260, "{} cases, must be all of them", cases.len());
        for family in &FAMILIES {
            let pre_tokenizer = family.pre_tokenizer().expect("the patterns are sound");
            for case in cases {
                let text = case["text"].as_str().expect("a text");
                let expected: Vec<u64> = serde_json::from_value(case[family.names[0]].clone())
                    .unwrap_or_else(|error| panic!("{}: {error}", family.names[0]));
                assert_eq!(words(&pre_tokenizer, text), expected, "{} {text:?}", family.names[0]);
            }
        }
    }

    #[test]
    fn no_name_belongs_to_two_families() {
        let mut names: Vec<&str> = FAMILIES.iter().flat_map(|family| family.names).copied().collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}

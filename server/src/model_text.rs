//! From a model's text files, as the models room found them, to the text room's types.
//!
//! The two rooms do not know each other; this is where one's raw data becomes the other's input.

mod stand_in;

use std::sync::Arc;

use spillway_models::{GgufVocabularyData, TextAssets, VocabularySource};
use spillway_text::{
    ChatTemplate, GenerationConfig, GgufVocabulary, TextError, TokenType, Tokenizer, TokenizerConfig,
};
use spillway_types::TokenId;

/// What a model needs beside its weights.
pub struct ModelText {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Renders conversations; may be absent inside.
    pub template: ChatTemplate,
    /// How the model's author would have it sampled.
    pub generation: GenerationConfig,
    /// Tokens with which the model ends an answer, by all its files.
    pub end_tokens: Arc<[TokenId]>,
}

/// Why a model's text files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelTextError {
    /// There is no tokenizer.
    #[error("the model has no tokenizer: put its tokenizer.json beside its config.json")]
    NoTokenizer,
    /// The text room refuses a file.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// What to do about a model without tokenizer files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingTokenizer {
    /// It cannot be served.
    Refuse,
    /// Its weights are random and its text means nothing: bytes stand in for tokens.
    StandIn {
        /// Entries of the vocabulary.
        vocab_size: u32,
    },
}

/// Makes a model's tokenizer, template and defaults.
///
/// # Errors
///
/// [`ModelTextError`] says which file is missing or wrong.
pub fn build(assets: TextAssets, missing: MissingTokenizer) -> Result<ModelText, ModelTextError> {
    let config = match &assets.tokenizer_config {
        Some(json) => TokenizerConfig::from_json(json)?,
        None => TokenizerConfig::default(),
    };
    let tokenizer = match (assets.vocabulary, missing) {
        (Some(VocabularySource::TokenizerJson(json)), _) => Tokenizer::from_hf_json(&json, &config)?,
        (Some(VocabularySource::Gguf(data)), _) => Tokenizer::from_gguf(&gguf_vocabulary(data)?)?,
        (None, MissingTokenizer::StandIn { vocab_size }) => {
            let tokenizer = stand_in::tokenizer(vocab_size)?;
            let template = ChatTemplate::compile(Some(stand_in::TEMPLATE), &tokenizer)?;
            let generation = GenerationConfig::default();
            return Ok(ModelText { tokenizer, template, generation, end_tokens: Arc::default() });
        }
        (None, MissingTokenizer::Refuse) => return Err(ModelTextError::NoTokenizer),
    };
    let source = assets.chat_template.as_deref().or_else(|| config.chat_template());
    let template = ChatTemplate::compile(source, &tokenizer)?;
    let generation = match &assets.generation_config {
        Some(json) => GenerationConfig::from_json(json)?,
        None => GenerationConfig::default(),
    };
    let mut end_tokens = assets.end_tokens;
    for &token in &generation.eos_tokens {
        if !end_tokens.contains(&token) {
            end_tokens.push(token);
        }
    }
    Ok(ModelText { tokenizer, template, generation, end_tokens: end_tokens.into() })
}

fn gguf_vocabulary(data: GgufVocabularyData) -> Result<GgufVocabulary, TextError> {
    let token_types = data.token_types.iter().map(|&number| TokenType::from_gguf(number));
    Ok(GgufVocabulary {
        model: data.model,
        pre: data.pre,
        tokens: data.tokens,
        token_types: token_types.collect::<Result<_, _>>()?,
        merges: data.merges,
        scores: data.scores,
        bos: data.bos,
        eos: data.eos,
        unk: data.unknown,
        pad: data.padding,
        add_bos: data.add_bos,
        add_eos: data.add_eos,
        add_space_prefix: data.add_space_prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets() -> TextAssets {
        TextAssets {
            vocabulary: None,
            tokenizer_config: None,
            chat_template: None,
            generation_config: None,
            end_tokens: vec![TokenId(2)],
        }
    }

    fn gguf(token_types: Vec<i32>) -> VocabularySource {
        VocabularySource::Gguf(GgufVocabularyData {
            model: "gpt2".to_owned(),
            tokens: ["a", "b", "<end>"].map(str::to_owned).to_vec(),
            token_types,
            ..GgufVocabularyData::default()
        })
    }

    #[test]
    fn a_model_without_tokenizer_is_refused_unless_its_weights_are_dummies() {
        let refused = build(assets(), MissingTokenizer::Refuse);
        assert!(matches!(refused, Err(ModelTextError::NoTokenizer)));
        let text = build(assets(), MissingTokenizer::StandIn { vocab_size: 300 }).expect("bytes stand in");
        assert_eq!(text.tokenizer.vocab_size(), 300);
        assert!(text.template.is_present());
    }

    #[test]
    fn end_tokens_of_both_files_are_joined() {
        let generation = br#"{"eos_token_id": [2, 1], "temperature": 0.6}"#.to_vec();
        let assets = TextAssets {
            vocabulary: Some(gguf(vec![1, 1, 3])),
            generation_config: Some(generation),
            ..assets()
        };
        let text = build(assets, MissingTokenizer::Refuse).expect("a tokenizer");
        assert_eq!(*text.end_tokens, [TokenId(2), TokenId(1)]);
        assert_eq!(text.generation.temperature, Some(0.6));
        assert!(!text.template.is_present());
    }

    #[test]
    fn an_unknown_token_type_is_named() {
        let assets = TextAssets { vocabulary: Some(gguf(vec![1, 9, 3])), ..assets() };
        let Err(error) = build(assets, MissingTokenizer::Refuse) else { panic!("9 is no type") };
        assert!(error.to_string().starts_with("token type is 9, must be from 1 to 6"), "{error}");
    }
}

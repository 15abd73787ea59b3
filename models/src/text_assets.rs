//! What `spillway-text` needs of a model's files, as raw data: this room reads files, that one gives them a meaning.

use std::path::Path;

use spillway_types::TokenId;

use crate::arch::config_json::ConfigJson;
use crate::error::ModelError;
use crate::source::{ModelSource, read_optional};
use crate::weights::{GgufMetadata, WeightStore};

/// Longest tokenizer.json that is read; the largest known ones have 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 512 << 20;
/// Longest of the other files.
const MAX_SMALL_BYTES: u64 = 16 << 20;

/// Tokenizer, chat template and generation defaults as found.
#[derive(Debug, Clone, PartialEq)]
pub struct TextAssets {
    /// The vocabulary; absent if the folder has no tokenizer, as one for dummy weights may not.
    pub vocabulary: Option<VocabularySource>,
    /// `tokenizer_config.json`, which may hold a chat template.
    pub tokenizer_config: Option<Vec<u8>>,
    /// The chat template of `chat_template.jinja` or of a GGUF file.
    pub chat_template: Option<String>,
    /// `generation_config.json`.
    pub generation_config: Option<Vec<u8>>,
    /// Tokens that end a sequence, by the model's own configuration; `generation_config` may name others.
    pub end_tokens: Vec<TokenId>,
}

/// A vocabulary in the form of its format.
#[derive(Debug, Clone, PartialEq)]
pub enum VocabularySource {
    /// The bytes of a `tokenizer.json`.
    TokenizerJson(Vec<u8>),
    /// A GGUF file's `tokenizer.ggml.*`.
    Gguf(GgufVocabularyData),
}

/// A GGUF file's `tokenizer.ggml.*`, each under its own name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocabularyData {
    /// `model`
    pub model: String,
    /// `pre`
    pub pre: Option<String>,
    /// `tokens`, by id.
    pub tokens: Vec<String>,
    /// `token_type`, by id, as numbered by the format; may be empty.
    pub token_types: Vec<i32>,
    /// `merges`, most important first; may be empty.
    pub merges: Vec<String>,
    /// `scores`, by id; may be empty.
    pub scores: Vec<f32>,
    /// `bos_token_id`
    pub bos: Option<TokenId>,
    /// `eos_token_id`
    pub eos: Option<TokenId>,
    /// `unknown_token_id`
    pub unknown: Option<TokenId>,
    /// `padding_token_id`
    pub padding: Option<TokenId>,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_eos_token`
    pub add_eos: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
}

impl TextAssets {
    /// Reads a model's files without looking at its weights.
    ///
    /// # Errors
    ///
    /// [`ModelError`] says which file cannot be read or is malformed.
    pub fn read(source: &ModelSource) -> Result<Self, ModelError> {
        match source {
            ModelSource::Folder(folder) => {
                Self::from_folder(folder, &ConfigJson::read(&folder.join("config.json"))?)
            }
            ModelSource::Gguf(path) => Self::from_gguf(&WeightStore::open_gguf(path)?.1),
        }
    }

    /// Reads the files beside a config.json.
    pub(crate) fn from_folder(folder: &Path, config: &ConfigJson) -> Result<Self, ModelError> {
        let small = |name: &str| read_optional(&folder.join(name), MAX_SMALL_BYTES);
        let template_path = folder.join("chat_template.jinja");
        let chat_template = match read_optional(&template_path, MAX_SMALL_BYTES)? {
            None => None,
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|error| ModelError::Malformed {
                path: template_path,
                problem: error.to_string(),
            })?),
        };
        let tokenizer = read_optional(&folder.join("tokenizer.json"), MAX_TOKENIZER_BYTES)?;
        Ok(Self {
            vocabulary: tokenizer.map(VocabularySource::TokenizerJson),
            tokenizer_config: small("tokenizer_config.json")?,
            chat_template,
            generation_config: small("generation_config.json")?,
            end_tokens: config.token_ids("eos_token_id")?,
        })
    }

    /// Takes the tokenizer and the template out of a GGUF file's metadata.
    pub(crate) fn from_gguf(metadata: &GgufMetadata) -> Result<Self, ModelError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let token = |name: &str| Ok::<_, ModelError>(metadata.u32(&key(name))?.map(TokenId));
        let mut end_tokens = Vec::new();
        // A chat's turn may end with another token than a document does.
        for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            match token(name)? {
                Some(id) if !end_tokens.contains(&id) => end_tokens.push(id),
                _ => {}
            }
        }
        Ok(Self {
            vocabulary: vocabulary(metadata)?.map(VocabularySource::Gguf),
            tokenizer_config: None,
            chat_template: metadata.text("tokenizer.chat_template")?.map(str::to_owned),
            generation_config: None,
            end_tokens,
        })
    }
}

fn vocabulary(metadata: &GgufMetadata) -> Result<Option<GgufVocabularyData>, ModelError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(model) = metadata.text(&key("model"))? else { return Ok(None) };
    let token = |name: &str| Ok::<_, ModelError>(metadata.u32(&key(name))?.map(TokenId));
    Ok(Some(GgufVocabularyData {
        model: model.to_owned(),
        pre: metadata.text(&key("pre"))?.map(str::to_owned),
        tokens: metadata.texts(&key("tokens"))?.to_vec(),
        token_types: metadata.numbers(&key("token_type"))?.into_iter().map(|kind| kind as i32).collect(),
        merges: metadata.texts(&key("merges"))?.to_vec(),
        scores: metadata.numbers(&key("scores"))?.into_iter().map(|score| score as f32).collect(),
        bos: token("bos_token_id")?,
        eos: token("eos_token_id")?,
        unknown: token("unknown_token_id")?,
        padding: token("padding_token_id")?,
        add_bos: metadata.bool(&key("add_bos_token"))?,
        add_eos: metadata.bool(&key("add_eos_token"))?,
        add_space_prefix: metadata.bool(&key("add_space_prefix"))?,
    }))
}

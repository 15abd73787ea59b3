//! `tokenizer_config.json`: the chat template and the special tokens of a Hugging Face model.

use serde::Deserialize;

use crate::error::TextError;

/// What Spillway reads of `tokenizer_config.json`. The default is that of a model without the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// Chat templates by name. A single one without a name is called `default`.
    pub chat_templates: Vec<(String, String)>,
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence.
    pub eos_token: Option<String>,
    /// Text of the token for what cannot be spelled.
    pub unk_token: Option<String>,
    /// Text of the token that fills up batches.
    pub pad_token: Option<String>,
}

/// Name of a chat template that was given without one.
const DEFAULT_TEMPLATE: &str = "default";

impl TokenizerConfig {
    /// Parses the file.
    ///
    /// # Errors
    ///
    /// [`TextError::ConfigJson`] if it has not the form it should have.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let raw: RawConfig = serde_json::from_slice(json)
            .map_err(|source| TextError::ConfigJson { file: "tokenizer_config.json", source })?;
        Ok(Self {
            chat_templates: raw.chat_template.map(RawTemplates::named).unwrap_or_default(),
            bos_token: raw.bos_token.map(RawToken::text),
            eos_token: raw.eos_token.map(RawToken::text),
            unk_token: raw.unk_token.map(RawToken::text),
            pad_token: raw.pad_token.map(RawToken::text),
        })
    }

    /// The template for plain conversations: the one called `default`.
    pub fn chat_template(&self) -> Option<&str> {
        self.named_chat_template(DEFAULT_TEMPLATE)
    }

    /// The template with this name, such as `tool_use`.
    pub fn named_chat_template(&self, name: &str) -> Option<&str> {
        let found = self.chat_templates.iter().find(|(known, _)| known == name);
        found.map(|(_, template)| template.as_str())
    }
}

/// The file as written. It has dozens of keys for the Python side, which are left alone.
#[derive(Deserialize)]
struct RawConfig {
    chat_template: Option<RawTemplates>,
    bos_token: Option<RawToken>,
    eos_token: Option<RawToken>,
    unk_token: Option<RawToken>,
    pad_token: Option<RawToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTemplates {
    One(String),
    Named(Vec<RawNamedTemplate>),
}

#[derive(Deserialize)]
struct RawNamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawToken {
    Text(String),
    Object { content: String },
}

impl RawTemplates {
    fn named(self) -> Vec<(String, String)> {
        match self {
            Self::One(template) => vec![(DEFAULT_TEMPLATE.to_owned(), template)],
            Self::Named(templates) => templates.into_iter().map(|raw| (raw.name, raw.template)).collect(),
        }
    }
}

impl RawToken {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tokens_as_text_or_object_and_one_template() {
        let json =
            br#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
            "chat_template": "{{ messages }}", "model_max_length": 8192}"#;
        let config = TokenizerConfig::from_json(json).expect("the file is well formed");
        assert_eq!(config.bos_token.as_deref(), Some("<s>"));
        assert_eq!(config.eos_token.as_deref(), Some("</s>"));
        assert_eq!(config.pad_token, None);
        assert_eq!(config.chat_template(), Some("{{ messages }}"));
    }

    #[test]
    fn reads_named_templates() {
        let json = br#"{"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#;
        let config = TokenizerConfig::from_json(json).expect("the file is well formed");
        assert_eq!(config.chat_template(), Some("D"));
        assert_eq!(config.named_chat_template("tool_use"), Some("T"));
        assert_eq!(config.named_chat_template("rag"), None);
    }

    #[test]
    fn names_the_file_that_is_broken() {
        let error = TokenizerConfig::from_json(br#"{"bos_token": 5}"#).expect_err("a number is no token");
        assert_eq!(error.to_string(), "tokenizer_config.json cannot be read; fetch the file again");
    }
}

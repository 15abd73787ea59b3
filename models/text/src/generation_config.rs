//! `generation_config.json`: how a model's author would have it sampled, and where it stops.

use serde::Deserialize;
use spillway_types::TokenId;

use crate::error::TextError;

/// What Spillway reads of `generation_config.json`. The default is that of a model without the file.
///
/// Values are as the file says; whoever uses them as defaults checks their ranges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a sequence.
    pub eos_tokens: Vec<TokenId>,
    /// Whether to sample at all. If the file says no, the other values have no effect in Hugging Face's
    /// `generate` either.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Keeps the most likely tokens up to this probability.
    pub top_p: Option<f32>,
    /// Keeps this many most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
}

impl GenerationConfig {
    /// Parses the file.
    ///
    /// # Errors
    ///
    /// [`TextError::ConfigJson`] if it has not the form it should have.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let raw: RawConfig = serde_json::from_slice(json)
            .map_err(|source| TextError::ConfigJson { file: "generation_config.json", source })?;
        Ok(Self {
            eos_tokens: raw.eos_token_id.map(RawTokens::ids).unwrap_or_default(),
            do_sample: raw.do_sample,
            temperature: raw.temperature,
            top_p: raw.top_p,
            top_k: raw.top_k,
        })
    }
}

/// The file as written, less the keys for other ways of decoding.
#[derive(Deserialize)]
struct RawConfig {
    eos_token_id: Option<RawTokens>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTokens {
    One(u32),
    Several(Vec<u32>),
}

impl RawTokens {
    fn ids(self) -> Vec<TokenId> {
        match self {
            Self::One(id) => vec![TokenId(id)],
            Self::Several(ids) => ids.into_iter().map(TokenId).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_or_several_ends() {
        let eos = |json: &str| GenerationConfig::from_json(json.as_bytes()).map(|config| config.eos_tokens);
        assert_eq!(eos(r#"{"eos_token_id": 2}"#).ok(), Some(vec![TokenId(2)]));
        assert_eq!(eos(r#"{"eos_token_id": [7, 9]}"#).ok(), Some(vec![TokenId(7), TokenId(9)]));
        assert_eq!(eos(r#"{"bos_token_id": 1}"#).ok(), Some(vec![]));
        assert!(eos(r#"{"eos_token_id": "</s>"}"#).is_err());
    }

    #[test]
    fn reads_sampling_and_leaves_out_what_is_absent() {
        let config = GenerationConfig::from_json(br#"{"temperature": 0.5, "top_k": 40, "num_beams": 3}"#)
            .expect("the file is well formed");
        assert_eq!((config.temperature, config.top_p, config.top_k), (Some(0.5), None, Some(40)));
    }
}

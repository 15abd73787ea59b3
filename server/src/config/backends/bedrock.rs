//! The checked keys of a backend of type `bedrock`.

use std::num::NonZeroU32;
use std::sync::Arc;

use spillway_router::Boundary;
use spillway_store::{Billing, PriceKey, Tier};
use spillway_types::ModelId;

use super::terms::{self, RemoteTerms, at_most};
use super::{BackendContext, openai};
use crate::config::document::KeyPath;
use crate::config::key_error::KeyError;
use crate::config::raw::{RawBackend, RawJsonSchema, RawReasoning, RawServiceTier, RawToolChoice};

/// Tokens of an answer that are asked for when the client does not say: Bedrock reserves as many of the quota.
const DEFAULT_MAX_TOKENS: u32 = 4096;
/// Longest id that Bedrock takes.
const MAX_MODEL_ID_LEN: usize = 2048;

/// A model of Amazon Bedrock, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BedrockSettings {
    /// The region that is asked.
    pub region: Arc<str>,
    /// Base id, inference profile's id, or ARN.
    pub model: ModelId,
    /// The profile of the shared AWS files that has the credentials; the usual chain if absent.
    pub aws_profile: Option<String>,
    /// Where it is asked instead of AWS.
    pub endpoint_url: Option<String>,
    /// Most tokens of an answer when the client does not say; at most `terms.max_output_tokens`.
    pub default_max_tokens: NonZeroU32,
    /// The tier that is asked for; AWS's default if absent.
    pub service_tier: Option<Tier>,
    /// Whether answers are streamed; `Converse` is used instead of `ConverseStream` if not.
    pub streaming: bool,
    /// How answers are made to follow a schema; as the model's family can, if absent.
    pub json_schema: Option<JsonSchemaBy>,
    /// How firmly tools can be demanded; as the model's family can, if absent.
    pub tool_choice: Option<ToolChoiceUpTo>,
    /// How the model is told how long to think; as the model's family can, if absent.
    pub reasoning: Option<ReasoningBy>,
    /// Tokens of quota that a generated token takes.
    pub output_burndown: NonZeroU32,
    /// Limits, prices, patience.
    pub terms: RemoteTerms,
}

/// How answers are made to follow a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonSchemaBy {
    /// By Bedrock's own means.
    Native,
    /// By a tool that the model must call.
    Tool,
}

/// How firmly tools can be demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolChoiceUpTo {
    /// Not at all.
    Auto,
    /// That some tool is called.
    Any,
    /// That this one is called.
    Named,
}

/// How a model is told how long to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBy {
    /// By a word for the effort.
    Effort,
    /// By a word for the effort, and a field that lets Claude think when it wants to.
    Adaptive,
    /// By a budget of tokens for Claude's thinking.
    Budget,
    /// By Nova's own field.
    Nova,
    /// By the field `reasoning_effort`, as gpt-oss has it.
    Field,
}

/// Checks the keys.
pub(super) fn validate(
    mut raw: RawBackend,
    boundary: Boundary,
    at: &KeyPath,
    context: &BackendContext<'_>,
) -> Result<BedrockSettings, KeyError> {
    let model = terms::model(raw.model.take(), "eu.anthropic.claude-haiku-4-5-20251001-v1:0", at)?;
    if model.as_str().len() > MAX_MODEL_ID_LEN {
        let value = format!("{} bytes long", model.as_str().len());
        return Err(at.key("model").out_of_range(value, format!("at most {MAX_MODEL_ID_LEN} bytes")));
    }
    let region = region(raw.region.take(), &at.key("region"))?;
    if let Some(url) = &raw.endpoint_url {
        openai::check_url(url, &at.key("endpoint_url"))?;
    }
    let service_tier = raw.service_tier.map(service_tier);
    let tier = service_tier.unwrap_or_default();
    let priced = PriceKey { model: model.to_string(), tier, billing: Billing::OnDemand };
    let terms = terms::validate(&mut raw, boundary, &priced, at, context)?;
    Ok(BedrockSettings {
        region,
        default_max_tokens: default_max_tokens(raw.default_max_tokens, &terms, at)?,
        aws_profile: named(raw.aws_profile, &at.key("aws_profile"))?,
        endpoint_url: raw.endpoint_url,
        service_tier,
        streaming: raw.streaming.unwrap_or(true),
        json_schema: raw.json_schema.map(|raw| match raw {
            RawJsonSchema::Native => JsonSchemaBy::Native,
            RawJsonSchema::Tool => JsonSchemaBy::Tool,
        }),
        tool_choice: raw.tool_choice.map(|raw| match raw {
            RawToolChoice::Auto => ToolChoiceUpTo::Auto,
            RawToolChoice::Any => ToolChoiceUpTo::Any,
            RawToolChoice::Named => ToolChoiceUpTo::Named,
        }),
        reasoning: raw.reasoning.map(|raw| match raw {
            RawReasoning::Effort => ReasoningBy::Effort,
            RawReasoning::Adaptive => ReasoningBy::Adaptive,
            RawReasoning::Budget => ReasoningBy::Budget,
            RawReasoning::Nova => ReasoningBy::Nova,
            RawReasoning::Field => ReasoningBy::Field,
        }),
        output_burndown: raw.output_burndown.unwrap_or(NonZeroU32::MIN),
        model,
        terms,
    })
}

fn service_tier(raw: RawServiceTier) -> Tier {
    match raw {
        RawServiceTier::Default => Tier::Default,
        RawServiceTier::Priority => Tier::Priority,
        RawServiceTier::Flex => Tier::Flex,
        RawServiceTier::Reserved => Tier::Reserved,
    }
}

/// A region is told, never found out: rules of residency are checked against it.
fn region(named: Option<String>, at: &KeyPath) -> Result<Arc<str>, KeyError> {
    let region =
        named.ok_or_else(|| at.missing("name the region that is asked, as in region = \"eu-central-1\""))?;
    if is_region(&region) {
        Ok(Arc::from(region))
    } else {
        Err(at.out_of_range(format!("`{region}`"), "a region of AWS, as eu-central-1"))
    }
}

/// Whether a text could be a region: words of small letters and digits with hyphens between them.
pub(in crate::config) fn is_region(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= 64 && text.split('-').count() >= 2 && text.split('-').all(is_word)
}

fn named(text: Option<String>, at: &KeyPath) -> Result<Option<String>, KeyError> {
    match text {
        Some(text) if text.trim().is_empty() => Err(at.out_of_range("empty", "a name, or left out")),
        text => Ok(text),
    }
}

fn default_max_tokens(
    said: Option<NonZeroU32>,
    terms: &RemoteTerms,
    at: &KeyPath,
) -> Result<NonZeroU32, KeyError> {
    let limit = terms.max_output_tokens.or(terms.context_tokens);
    match (said, limit) {
        (Some(tokens), Some(limit)) => {
            at_most(tokens, limit, "max_output_tokens and context_tokens", &at.key("default_max_tokens"))?;
            Ok(tokens)
        }
        (Some(tokens), None) => Ok(tokens),
        (None, limit) => {
            let tokens = NonZeroU32::new(DEFAULT_MAX_TOKENS).expect("it is not zero");
            Ok(limit.map_or(tokens, |limit| limit.min(tokens)))
        }
    }
}

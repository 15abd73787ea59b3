//! What the answer must look like, and how long the model thinks first: fields beside the conversation.

use aws_sdk_bedrockruntime::types::{
    JsonSchemaDefinition, OutputConfig, OutputFormat as WireFormat, OutputFormatStructure, OutputFormatType,
};
use serde_json::{Map, Value, json};
use spillway_types::{OutputFormat, ReasoningEffort};

use super::fault::Refusal;
use super::names::{self, Names};
use super::tools::Duty;
use super::traits::{JsonStyle, ReasoningStyle, Traits};

/// The smallest budget that Claude takes.
const MIN_BUDGET: u32 = 1024;

/// How a model is asked to think.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Thinking {
    /// `outputConfig.effort`.
    pub(super) effort: Option<&'static str>,
    /// Fields of the model's own.
    pub(super) fields: Map<String, Value>,
    /// Tokens that it may think, if they are counted.
    pub(super) budget: Option<u32>,
    /// Whether the model then takes no say in how tokens are chosen.
    pub(super) sampling: SamplingRule,
}

/// Whether a client's sampling is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SamplingRule {
    #[default]
    Free,
    /// Claude thinks at a temperature of 1, without `top_k`, and calls functions only if it wants to.
    Fixed,
}

/// What to say about thinking. `max_tokens` is what the client allows; `None` if it does not say.
pub(super) fn thinking(
    effort: Option<ReasoningEffort>,
    traits: &Traits,
    duty: Duty,
    max_tokens: Option<u32>,
) -> Result<Thinking, Refusal> {
    let Some(effort) = effort else { return Ok(Thinking::default()) };
    let Some(style) = traits.reasoning else {
        return Err(refused("this model cannot be told how long to think: leave `reasoning_effort` out"));
    };
    let is_claude = matches!(style, ReasoningStyle::Adaptive | ReasoningStyle::Budget);
    if is_claude && effort != ReasoningEffort::None && duty == Duty::Forced {
        return Err(refused(
            "this model does not think where a call is forced: leave `reasoning_effort` out, or let it choose",
        ));
    }
    match style {
        ReasoningStyle::Effort => Ok(Thinking { effort: word(effort), ..Thinking::default() }),
        ReasoningStyle::Adaptive => Ok(adaptive(effort)),
        ReasoningStyle::Budget => budget(effort, max_tokens),
        ReasoningStyle::Nova => nova(effort),
        ReasoningStyle::Field => match word(effort) {
            Some(word) => {
                Ok(Thinking { fields: object(json!({"reasoning_effort": word})), ..Thinking::default() })
            }
            None => Err(refused("this model always thinks: `reasoning_effort` must be at least \"low\"")),
        },
    }
}

/// The nearest word that Bedrock has; none for no thinking at all.
fn word(effort: ReasoningEffort) -> Option<&'static str> {
    match effort {
        ReasoningEffort::None => None,
        ReasoningEffort::Minimal | ReasoningEffort::Low => Some("low"),
        ReasoningEffort::Medium => Some("medium"),
        ReasoningEffort::High => Some("high"),
    }
}

fn adaptive(effort: ReasoningEffort) -> Thinking {
    let Some(word) = word(effort) else { return Thinking::default() };
    Thinking {
        effort: Some(word),
        fields: object(json!({"thinking": {"type": "adaptive"}})),
        budget: None,
        sampling: SamplingRule::Fixed,
    }
}

/// At most half of what the client allows is thought, so that an answer can follow.
fn budget(effort: ReasoningEffort, max_tokens: Option<u32>) -> Result<Thinking, Refusal> {
    let wanted = match effort {
        ReasoningEffort::None => return Ok(Thinking::default()),
        ReasoningEffort::Minimal => MIN_BUDGET,
        ReasoningEffort::Low => 2048,
        ReasoningEffort::Medium => 8192,
        ReasoningEffort::High => 16384,
    };
    if let Some(max_tokens) = max_tokens.filter(|max_tokens| *max_tokens <= MIN_BUDGET) {
        return Err(refused(format!(
            "`max_tokens` is {max_tokens}, and thinking takes at least {MIN_BUDGET} of them: raise it or leave `reasoning_effort` out"
        )));
    }
    let tokens = max_tokens.map_or(wanted, |max_tokens| wanted.min((max_tokens / 2).max(MIN_BUDGET)));
    Ok(Thinking {
        effort: None,
        fields: object(json!({"thinking": {"type": "enabled", "budget_tokens": tokens}})),
        budget: Some(tokens),
        sampling: SamplingRule::Fixed,
    })
}

fn nova(effort: ReasoningEffort) -> Result<Thinking, Refusal> {
    let config = match word(effort) {
        None => json!({"type": "disabled"}),
        // Bedrock would reserve the model's whole output for each such call.
        Some("high") => {
            return Err(refused(
                "this model takes no `max_tokens` with `reasoning_effort` \"high\": set it to \"medium\"",
            ));
        }
        Some(word) => json!({"type": "enabled", "maxReasoningEffort": word}),
    };
    Ok(Thinking { fields: object(json!({"reasoningConfig": config})), ..Thinking::default() })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new("reasoning_effort", message)
}

/// The form of the answer, where the model has a field for it, and the effort.
pub(super) fn output_config(
    format: &OutputFormat,
    traits: &Traits,
    effort: Option<&'static str>,
) -> Option<OutputConfig> {
    let text_format = match format {
        OutputFormat::JsonSchema(schema) if traits.json == Some(JsonStyle::Native) => {
            let name = (!schema.name.is_empty()).then_some(schema.name.as_str());
            let fit = Names::new(name, names::is_tool_letter);
            let definition = JsonSchemaDefinition::builder()
                .schema(schema.schema.as_str())
                .set_name(name.map(|name| fit.wire(name).to_owned()))
                .set_description(schema.description.clone().filter(|text| !text.is_empty()))
                .build();
            let structure = OutputFormatStructure::JsonSchema(definition.expect("its schema is set"));
            let format = WireFormat::builder().r#type(OutputFormatType::JsonSchema).structure(structure);
            Some(format.build().expect("type and structure are set"))
        }
        OutputFormat::Text | OutputFormat::JsonObject | OutputFormat::JsonSchema(_) => None,
    };
    if text_format.is_none() && effort.is_none() {
        return None;
    }
    let effort = effort.map(ToOwned::to_owned);
    Some(OutputConfig::builder().set_text_format(text_format).set_effort(effort).build())
}

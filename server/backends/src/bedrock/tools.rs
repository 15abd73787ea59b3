//! The functions that are offered, and which of them must be called; among them one of our own, where JSON is forced so.

use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, AutoToolChoice, SpecificToolChoice, Tool as WireTool, ToolChoice as WireChoice,
    ToolConfiguration, ToolInputSchema, ToolSpecification,
};
use serde_json::{Value, json};
use spillway_types::{OutputFormat, Tool, ToolChoice, ToolUse};

use super::document;
use super::fault::Refusal;
use super::names::Names;
use super::traits::{JsonStyle, StrictTools, ToolChoiceSupport, Traits};

/// What the tool that takes an answer in JSON is called if the client's schema has no name.
const ANSWER_TOOL: &str = "answer";

/// What is offered to the model.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Absent where nothing is.
    pub(super) config: Option<ToolConfiguration>,
    /// The name of the tool whose arguments are the answer.
    pub(super) answer_tool: Option<String>,
    /// Whether the model has to call something.
    pub(super) duty: Duty,
}

/// Whether the model has to call something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Duty {
    #[default]
    Free,
    Forced,
}

/// A tool whose arguments are the answer.
#[derive(Debug)]
struct AnswerTool {
    name: String,
    spec: ToolSpecification,
}

/// The client's tools if the model may call any.
pub(super) fn offered(tools: Option<&ToolUse>) -> Option<&ToolUse> {
    tools.filter(|tools| tools.choice != ToolChoice::None && !tools.tools.is_empty())
}

/// Puts the offer together.
pub(super) fn offer(
    tools: Option<&ToolUse>,
    format: &OutputFormat,
    traits: &Traits,
    names: &mut Names,
) -> Result<Offer, Refusal> {
    let answer = answer_tool(format, traits, names)?;
    let Some(tool_use) = offered(tools) else {
        let Some(answer) = answer else { return Ok(Offer::default()) };
        return forced_answer(answer, traits);
    };
    let mut specs = Vec::new();
    for tool in &tool_use.tools {
        specs.push(spec(tool, traits, names)?);
    }
    let (choice, duty, answer_tool) = match (&tool_use.choice, answer) {
        // It either calls the client's tools or answers, and both are calls.
        (ToolChoice::Auto, Some(answer)) => {
            specs.push(answer.spec);
            (Some(any(traits)?), Duty::Forced, Some(answer.name))
        }
        (ToolChoice::Auto | ToolChoice::None, _) => (auto(traits), Duty::Free, None),
        // A call must come, so there is no answer whose form could matter.
        (ToolChoice::Required, _) => (Some(any(traits)?), Duty::Forced, None),
        (ToolChoice::Named(name), _) => {
            let wire = names.wire(name);
            if traits.tool_choice < ToolChoiceSupport::Named {
                specs.retain(|spec| spec.name == wire);
            }
            (Some(only(wire, traits)?), Duty::Forced, None)
        }
    };
    Ok(Offer { config: Some(config(specs, choice)), answer_tool, duty })
}

fn forced_answer(answer: AnswerTool, traits: &Traits) -> Result<Offer, Refusal> {
    let choice = only(&answer.name, traits)?;
    let config = config(vec![answer.spec], Some(choice));
    Ok(Offer { config: Some(config), answer_tool: Some(answer.name), duty: Duty::Forced })
}

fn config(specs: Vec<ToolSpecification>, choice: Option<WireChoice>) -> ToolConfiguration {
    let tools = specs.into_iter().map(WireTool::ToolSpec).collect();
    let config = ToolConfiguration::builder().set_tools(Some(tools)).set_tool_choice(choice);
    config.build().expect("its tools are set")
}

/// The model's own choice, which a model that knows no other is not told.
fn auto(traits: &Traits) -> Option<WireChoice> {
    let is_told = traits.tool_choice > ToolChoiceSupport::Auto;
    is_told.then(|| WireChoice::Auto(AutoToolChoice::builder().build()))
}

fn any(traits: &Traits) -> Result<WireChoice, Refusal> {
    if traits.tool_choice == ToolChoiceSupport::Auto {
        let message = "this model cannot be made to call a function: set `tool_choice` to \"auto\"";
        return Err(Refusal::new("tool_choice", message));
    }
    Ok(WireChoice::Any(AnyToolChoice::builder().build()))
}

/// Forces one tool; a model that knows no names is offered no other.
fn only(wire_name: &str, traits: &Traits) -> Result<WireChoice, Refusal> {
    if traits.tool_choice < ToolChoiceSupport::Named {
        return any(traits);
    }
    let choice = SpecificToolChoice::builder().name(wire_name).build();
    Ok(WireChoice::Tool(choice.expect("its name is set")))
}

fn spec(tool: &Tool, traits: &Traits, names: &Names) -> Result<ToolSpecification, Refusal> {
    if tool.strict && traits.strict_tools == StrictTools::Unknown {
        let message = format!(
            "tool `{}` is `strict`, which this model does not promise: leave `strict` out",
            tool.name
        );
        return Err(Refusal::new("tools", message));
    }
    let schema = match &tool.parameters {
        None => json!({"type": "object", "properties": {}}),
        Some(text) => parse_schema("tools", text.as_str())?,
    };
    let description = tool.description.as_deref().filter(|text| !text.is_empty());
    Ok(specification(names.wire(&tool.name), description, schema, tool.strict))
}

fn specification(name: &str, description: Option<&str>, schema: Value, strict: bool) -> ToolSpecification {
    let spec = ToolSpecification::builder()
        .name(name)
        .set_description(description.map(ToOwned::to_owned))
        .input_schema(ToolInputSchema::Json(document::from_json(schema)))
        .set_strict(strict.then_some(true));
    spec.build().expect("its name is set")
}

/// The tool that takes the answer, if the answer is to be forced into JSON by one.
fn answer_tool(
    format: &OutputFormat,
    traits: &Traits,
    names: &mut Names,
) -> Result<Option<AnswerTool>, Refusal> {
    let (base, description, schema, strict) = match format {
        OutputFormat::Text => return Ok(None),
        OutputFormat::JsonSchema(_) if traits.json == Some(JsonStyle::Native) => return Ok(None),
        OutputFormat::JsonObject => (ANSWER_TOOL, None, json!({"type": "object"}), false),
        OutputFormat::JsonSchema(schema) => {
            let value = parse_schema("response_format", schema.schema.as_str())?;
            if value.get("type").and_then(Value::as_str) != Some("object") {
                let message = "the schema of `response_format` must be of type `object` for this model";
                return Err(Refusal::new("response_format", message));
            }
            (schema.name.as_str(), schema.description.as_deref(), value, schema.strict)
        }
    };
    let name = names.reserve(if base.is_empty() { ANSWER_TOOL } else { base });
    let description = description.filter(|text| !text.is_empty()).unwrap_or("Takes the answer to the user.");
    let strict = strict && traits.strict_tools == StrictTools::Honoured;
    let spec = specification(&name, Some(description), schema, strict);
    Ok(Some(AnswerTool { name, spec }))
}

fn parse_schema(param: &'static str, text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|_| Refusal::new(param, format!("a schema in `{param}` is no JSON")))
}

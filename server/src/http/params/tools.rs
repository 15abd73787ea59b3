//! What a model may call, and whether it must.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use spillway_api::openai::{
    FunctionDefinition, ToolChoice as WireChoice, ToolChoiceMode as Mode, ToolDefinition,
};
use spillway_types::{JsonText, Tool, ToolChoice, ToolUse};

use crate::http::request_error::RequestError;

/// Most tools of a request; OpenAI's limit.
const MAX_TOOLS: usize = 128;
/// Longest name of a function or of a schema; OpenAI's limit.
const MAX_NAME_BYTES: usize = 64;

/// The tools of a request with what is said of their use; none if none are given.
pub(super) fn tool_use(
    tools: Option<Vec<ToolDefinition>>,
    choice: Option<WireChoice>,
    parallel: Option<bool>,
) -> Result<Option<ToolUse>, RequestError> {
    let Some(tools) = tools else {
        return match (choice, parallel) {
            (None | Some(WireChoice::Mode(Mode::None | Mode::Auto)), None) => Ok(None),
            (Some(_), _) => Err(without_tools("tool_choice")),
            (None, Some(_)) => Err(without_tools("parallel_tool_calls")),
        };
    };
    if tools.len() > MAX_TOOLS {
        let message = format!("`tools` has {} tools, limit {MAX_TOOLS}", tools.len());
        return Err(RequestError::invalid("tools", message));
    }
    let tools = tools.into_iter().zip(0_usize..).map(|(tool, index)| checked(tool.function, index));
    let tools = tools.collect::<Result<Vec<Tool>, _>>()?;
    check_names_differ(&tools)?;
    let choice = tool_choice(choice, &tools)?;
    Ok(Some(ToolUse { tools, choice, parallel: parallel.unwrap_or(true) }))
}

fn without_tools(param: &str) -> RequestError {
    RequestError::invalid(param, format!("`{param}` is given without `tools`: add them or leave it out"))
}

fn checked(function: FunctionDefinition, index: usize) -> Result<Tool, RequestError> {
    let path = |field: &str| format!("tools[{index}].function.{field}");
    let name = checked_name(function.name, || path("name"))?;
    let parameters = function.parameters.map(|schema| object_schema(&schema, || path("parameters")));
    Ok(Tool {
        name,
        description: function.description,
        parameters: parameters.transpose()?,
        strict: function.strict == Some(true),
    })
}

/// A name of letters, digits, `_` and `-`.
pub(super) fn checked_name(name: String, path: impl Fn() -> String) -> Result<String, RequestError> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_letter) {
        return Ok(name);
    }
    let param = path();
    let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
    let message = format!("`{param}` is {shown:?}, must be 1 to {MAX_NAME_BYTES} of `a-z A-Z 0-9 _ -`");
    Err(RequestError::invalid(param, message))
}

/// Arguments of a function are an object, so a schema that says otherwise could never be met.
fn object_schema(schema: &Map<String, Value>, path: impl Fn() -> String) -> Result<JsonText, RequestError> {
    match schema.get("type") {
        Some(kind) if kind != "object" => {
            let param = format!("{}.type", path());
            let message = format!("`{param}` is {kind}, must be \"object\"");
            Err(RequestError::invalid(param, message))
        }
        Some(_) | None => Ok(json_text(schema)),
    }
}

/// An object as its text.
pub(super) fn json_text(object: &Map<String, Value>) -> JsonText {
    JsonText::from_valid(serde_json::to_string(object).expect("JSON has string keys"))
}

fn check_names_differ(tools: &[Tool]) -> Result<(), RequestError> {
    let mut seen = BTreeSet::new();
    match tools.iter().position(|tool| !seen.insert(tool.name.as_str())) {
        None => Ok(()),
        Some(index) => {
            let name = &tools[index].name;
            let message = format!("`tools` has {name:?} twice: give each its own name");
            Err(RequestError::invalid(format!("tools[{index}].function.name"), message))
        }
    }
}

fn tool_choice(choice: Option<WireChoice>, tools: &[Tool]) -> Result<ToolChoice, RequestError> {
    match choice {
        None | Some(WireChoice::Mode(Mode::Auto)) => Ok(ToolChoice::Auto),
        Some(WireChoice::Mode(Mode::None)) => Ok(ToolChoice::None),
        Some(WireChoice::Mode(Mode::Required)) => Ok(ToolChoice::Required),
        Some(WireChoice::Named(tool)) => {
            let name = tool.function.name;
            if tools.iter().any(|tool| tool.name == name) {
                return Ok(ToolChoice::Named(name));
            }
            let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
            let message = format!("`tool_choice` names {shown:?}, which is none of `tools`");
            Err(RequestError::invalid("tool_choice.function.name", message))
        }
    }
}

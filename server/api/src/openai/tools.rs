//! Functions that a model may call: as clients offer them, and as calls are written, whole and in pieces.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolDefinition {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// What may be called.
    pub function: FunctionDefinition,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments; none, if absent.
    pub parameters: Option<Map<String, Value>>,
    /// Whether arguments must follow the schema to the letter.
    pub strict: Option<bool>,
}

/// Whether the model may, must or must not call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": ..}}"
)]
pub enum ToolChoice {
    /// One of the words.
    Mode(ToolChoiceMode),
    /// This tool.
    Named(NamedTool),
}

/// Whether the model may, must or must not call a tool, whichever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoiceMode {
    /// It must not.
    None,
    /// It may.
    Auto,
    /// It must.
    Required,
}

/// A tool by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedTool {
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// Which one.
    pub function: FunctionName,
}

/// A function by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionName {
    /// The name.
    pub name: String,
}

/// A call of a tool, as an assistant made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Its name, which the tool's answer repeats.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// What was called.
    pub function: FunctionCall,
}

/// What kind of tool was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// A function of the client's.
    Function,
}

/// The function that was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments, as the text of a JSON object.
    pub arguments: String,
}

/// More of a call, in a chunk of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCallChunk<'a> {
    /// Position among the calls of the choice.
    pub index: u32,
    /// The call's name, in its first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// Always `function`, in the call's first chunk.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ToolKind>,
    /// What is called.
    pub function: FunctionChunk<'a>,
}

/// More of the function that is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionChunk<'a> {
    /// Its name, in the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// More text of its arguments.
    pub arguments: Cow<'a, str>,
}

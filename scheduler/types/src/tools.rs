//! What a model may call, and what its answer must look like.

use crate::JsonText;

/// The functions that a conversation offers to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolUse {
    /// At least one, each with its own name.
    pub tools: Vec<Tool>,
    /// Whether the model may, must or must not call one.
    pub choice: ToolChoice,
    /// Whether one answer may hold several calls.
    pub parallel: bool,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name, as the client knows it.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments: an object; absent for a function without arguments.
    pub parameters: Option<JsonText>,
    /// Whether arguments must follow the schema to the letter.
    pub strict: bool,
}

/// Whether the model may, must or must not call a function.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// It decides.
    #[default]
    Auto,
    /// It calls at least one.
    Required,
    /// It calls none.
    None,
    /// It calls the one of this name, which is among the tools.
    Named(String),
}

/// A schema that an answer must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonSchema {
    /// The client's name for it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The schema: an object.
    pub schema: JsonText,
    /// Whether the answer must follow it to the letter.
    pub strict: bool,
}

//! `response_format`: what an answer must look like.

use serde::Deserialize;
use serde_json::{Map, Value};

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseFormat {
    /// Which kind of format.
    #[serde(rename = "type")]
    pub kind: ResponseFormatKind,
    /// The schema, for a format that has one.
    pub json_schema: Option<JsonSchemaFormat>,
}

/// A kind of format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormatKind {
    /// Anything.
    Text,
    /// One JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema,
}

/// A schema that an answer must follow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchemaFormat {
    /// The client's name for it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The schema.
    pub schema: Map<String, Value>,
    /// Whether the answer must follow it to the letter.
    pub strict: Option<bool>,
}

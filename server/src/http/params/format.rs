//! What an answer must look like, and how long the model thinks about it.

use spillway_api::openai::{ReasoningEffort as WireEffort, ResponseFormat, ResponseFormatKind as Kind};
use spillway_types::{JsonSchema, OutputFormat, ReasoningEffort};

use super::tools::{checked_name, json_text};
use crate::http::request_error::RequestError;

/// The format of a request's `response_format`.
pub(super) fn output_format(format: Option<&ResponseFormat>) -> Result<OutputFormat, RequestError> {
    let Some(format) = format else { return Ok(OutputFormat::Text) };
    match (format.kind, &format.json_schema) {
        (Kind::Text, None) => Ok(OutputFormat::Text),
        (Kind::JsonObject, None) => Ok(OutputFormat::JsonObject),
        (Kind::JsonSchema, Some(schema)) => Ok(OutputFormat::JsonSchema(JsonSchema {
            name: checked_name(schema.name.clone(), || "response_format.json_schema.name".to_owned())?,
            description: schema.description.clone(),
            schema: json_text(&schema.schema),
            strict: schema.strict == Some(true),
        })),
        (Kind::JsonSchema, None) => {
            Err(RequestError::Missing { param: "response_format.json_schema".to_owned() })
        }
        (Kind::Text | Kind::JsonObject, Some(_)) => {
            let kind = if format.kind == Kind::Text { "text" } else { "json_object" };
            let message = format!(
                "`response_format.json_schema` is only for formats of type \"json_schema\", this is \"{kind}\""
            );
            Err(RequestError::invalid("response_format.json_schema", message))
        }
    }
}

/// The domain's word for an effort.
pub(super) fn reasoning_effort(effort: WireEffort) -> ReasoningEffort {
    match effort {
        WireEffort::None => ReasoningEffort::None,
        WireEffort::Minimal => ReasoningEffort::Minimal,
        WireEffort::Low => ReasoningEffort::Low,
        WireEffort::Medium => ReasoningEffort::Medium,
        WireEffort::High => ReasoningEffort::High,
    }
}

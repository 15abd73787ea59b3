//! Messages of a conversation on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spillway_types::{ChatMessage, Image, ImageFormat, ReasoningPart, Role};

use crate::openai_compatible::Dialect;

/// One message.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

impl<'a> Message<'a> {
    pub(super) fn new(message: &'a ChatMessage, dialect: Dialect) -> Self {
        let tool_calls = message.tool_calls.as_ref().map(|calls| tool_calls(calls.as_str()));
        Self {
            role: role(message.role, dialect),
            content: content(message, tool_calls.is_some()),
            name: message.name.as_deref(),
            reasoning_content: reasoning(&message.reasoning, dialect),
            tool_calls,
            tool_call_id: message.tool_call_id.as_deref(),
        }
    }
}

/// Templates of open models do not know the newer word.
fn role(role: Role, dialect: Dialect) -> &'static str {
    match (role, dialect) {
        (Role::Developer, Dialect::Vllm | Dialect::LlamaCpp) => Role::System.as_str(),
        (role, _) => role.as_str(),
    }
}

/// An assistant that only called tools said nothing.
fn content(message: &ChatMessage, has_calls: bool) -> Option<Content<'_>> {
    if message.content.is_empty() && message.images.is_empty() && has_calls {
        return None;
    }
    if message.images.is_empty() {
        return Some(Content::Text(&message.content));
    }
    let text = message.content.as_str();
    let mut parts = Vec::with_capacity(2 * message.images.len() + 1);
    let mut begin = 0;
    for placed in &message.images {
        let end = text.floor_char_boundary(placed.offset).max(begin);
        push_text(&mut parts, &text[begin..end]);
        parts.push(Part::ImageUrl { image_url: ImageUrl { url: data_url(&placed.image) } });
        begin = end;
    }
    push_text(&mut parts, &text[begin..]);
    Some(Content::Parts(parts))
}

fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str) {
    if !text.is_empty() {
        parts.push(Part::Text { text });
    }
}

fn data_url(image: &Image) -> String {
    let kind = match image.format {
        ImageFormat::Png => "png",
        ImageFormat::Jpeg => "jpeg",
        ImageFormat::Gif => "gif",
        ImageFormat::Webp => "webp",
    };
    format!("data:image/{kind};base64,{}", STANDARD.encode(&image.bytes))
}

/// What was thought in words, for servers whose templates show it. Signatures and hidden thoughts belong to the provider
/// that made them, and mean nothing to another.
fn reasoning(parts: &[ReasoningPart], dialect: Dialect) -> Option<String> {
    if dialect == Dialect::OpenAi {
        return None;
    }
    let words = parts.iter().filter_map(|part| match part {
        ReasoningPart::Text { text, .. } => Some(text.as_str()),
        ReasoningPart::Redacted(_) => None,
    });
    let words: String = words.collect();
    (!words.is_empty()).then_some(words)
}

/// A call as it is on the wire: its arguments are text.
#[derive(Serialize, Deserialize)]
struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    function: Function,
}

#[derive(Serialize, Deserialize)]
struct Function {
    name: String,
    #[serde(serialize_with = "as_text")]
    arguments: Value,
}

fn as_text<S: serde::Serializer>(arguments: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    match arguments {
        Value::String(text) => serializer.serialize_str(text),
        other => serializer.collect_str(other),
    }
}

/// Reads the list that templates expect. It was written at the edge, so it is one.
fn tool_calls(text: &str) -> Vec<ToolCall> {
    serde_json::from_str(text).unwrap_or_default()
}

//! From a request to the body that an OpenAI-compatible server takes.
//!
//! What is off is not sent, so that servers with fewer fields are asked for no more than they must. The class in our own
//! queue is not sent either: it says nothing about another server's.

mod check;
mod messages;
mod sampling;

use std::num::NonZeroU32;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::Serializer;
use serde_json::value::RawValue;
use spillway_router::{BackendError, BackendId, Capabilities};
use spillway_types::{
    ChatEnd, ChatPrompt, GenerateRequest, JsonText, OutputFormat, Prompt, ReasoningEffort, TokenId,
    ToolChoice, ToolUse,
};

use super::{Delivery, Dialect};
use check::check;
use messages::Message;
use sampling::SamplingFields;

/// Which endpoint a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
}

impl Endpoint {
    /// Of a prompt.
    pub(super) fn of(prompt: &Prompt) -> Self {
        match prompt {
            Prompt::Chat(_) => Self::Chat,
            Prompt::Text(_) | Prompt::Tokens(_) => Self::Completions,
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

/// To whom a request is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipient<'a> {
    pub(super) id: &'a BackendId,
    pub(super) capabilities: &'a Capabilities,
    pub(super) dialect: Dialect,
    pub(super) delivery: Delivery,
}

/// Writes the body of a request.
///
/// # Errors
///
/// [`BackendError::InvalidRequest`] names the first field that the recipient would not honour.
pub(super) fn body(request: &GenerateRequest, recipient: Recipient<'_>) -> Result<Bytes, BackendError> {
    check(request, recipient)?;
    let is_stream = recipient.delivery == Delivery::Streamed;
    let (chat, prompt) = match &request.prompt {
        Prompt::Chat(chat) => (Some(ChatFields::new(chat, request, recipient)), None),
        Prompt::Text(text) => (None, Some(TextOrTokens::Text(text))),
        Prompt::Tokens(tokens) => (None, Some(TextOrTokens::Tokens(tokens))),
    };
    let body = Body {
        model: recipient.capabilities.model.as_str(),
        stream: is_stream,
        stream_options: is_stream.then_some(StreamOptions { include_usage: true }),
        chat,
        prompt,
        sampling: SamplingFields::new(request, recipient.dialect),
        max_output: max_output(request, recipient),
        response_format: response_format(&request.format),
        cache_salt: request.cache_salt.as_ref().and_then(|salt| std::str::from_utf8(salt.as_bytes()).ok()),
    };
    let written = serde_json::to_vec(&body).map_err(|_error| BackendError::InvalidRequest {
        param: None,
        message: "the request cannot be written as JSON".to_owned(),
    })?;
    Ok(Bytes::from(written))
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    chat: Option<ChatFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<TextOrTokens<'a>>,
    #[serde(flatten)]
    sampling: SamplingFields<'a>,
    #[serde(flatten)]
    max_output: MaxOutput,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_salt: Option<&'a str>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The limit of an answer in the two words for it.
#[derive(Default, Serialize)]
struct MaxOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

fn max_output(request: &GenerateRequest, recipient: Recipient<'_>) -> MaxOutput {
    let asked = request.params.max_tokens.map(NonZeroU32::get);
    match (recipient.dialect, Endpoint::of(&request.prompt)) {
        // OpenAI's newer models refuse the older word.
        (Dialect::OpenAi, Endpoint::Chat) => {
            MaxOutput { max_completion_tokens: asked, ..MaxOutput::default() }
        }
        (Dialect::Vllm | Dialect::LlamaCpp, Endpoint::Chat) => {
            MaxOutput { max_tokens: asked, ..MaxOutput::default() }
        }
        // A completion without a limit would end after sixteen tokens.
        (_, Endpoint::Completions) => MaxOutput {
            max_tokens: asked.or(recipient.capabilities.max_output_tokens),
            ..MaxOutput::default()
        },
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum TextOrTokens<'a> {
    Text(&'a str),
    #[serde(serialize_with = "ids")]
    Tokens(&'a [TokenId]),
}

fn ids<S: Serializer>(tokens: &[TokenId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tokens.iter().map(|token| token.0))
}

/// What only a conversation has.
#[derive(Serialize)]
struct ChatFields<'a> {
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
}

impl<'a> ChatFields<'a> {
    fn new(chat: &'a ChatPrompt, request: &GenerateRequest, recipient: Recipient<'_>) -> Self {
        let (add_generation_prompt, continue_final_message) = match chat.end {
            ChatEnd::AssistantTurn => (None, None),
            ChatEnd::LastMessage => (Some(false), None),
            ChatEnd::OpenLastMessage => (Some(false), Some(true)),
        };
        Self {
            messages: chat.messages.iter().map(|message| Message::new(message, recipient.dialect)).collect(),
            tools: chat.tools.as_ref().map(|tools| tools.tools.iter().map(Tool::new).collect()),
            tool_choice: chat.tools.as_ref().map(|tools| Choice::new(&tools.choice)),
            parallel_tool_calls: chat.tools.as_ref().and_then(|tools| parallel(tools, recipient.dialect)),
            add_generation_prompt,
            continue_final_message,
            chat_template_kwargs: chat.arguments.as_ref().and_then(raw),
            reasoning_effort: request.reasoning_effort.map(effort),
        }
    }
}

/// Told only where it is not the server's default: some models refuse the field.
fn parallel(tools: &ToolUse, dialect: Dialect) -> Option<bool> {
    let default = match dialect {
        Dialect::Vllm | Dialect::OpenAi => true,
        Dialect::LlamaCpp => false,
    };
    (tools.parallel != default).then_some(tools.parallel)
}

fn effort(effort: ReasoningEffort) -> &'static str {
    match effort {
        ReasoningEffort::None => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
    }
}

/// JSON as it stands. It was parsed at the edge, so it is there.
fn raw(text: &JsonText) -> Option<&RawValue> {
    serde_json::from_str(text.as_str()).ok()
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

impl<'a> Tool<'a> {
    fn new(tool: &'a spillway_types::Tool) -> Self {
        let function = Function {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.parameters.as_ref().and_then(raw),
            strict: tool.strict,
        };
        Self { kind: "function", function }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Named<'a>,
    },
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

impl<'a> Choice<'a> {
    fn new(choice: &'a ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => Self::Word("auto"),
            ToolChoice::Required => Self::Word("required"),
            ToolChoice::None => Self::Word("none"),
            ToolChoice::Named(name) => Self::Named { kind: "function", function: Named { name } },
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: Option<&'a RawValue>,
    strict: bool,
}

fn response_format(format: &OutputFormat) -> Option<ResponseFormat<'_>> {
    match format {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => Some(ResponseFormat::JsonObject),
        OutputFormat::JsonSchema(schema) => Some(ResponseFormat::JsonSchema {
            json_schema: NamedSchema {
                name: &schema.name,
                description: schema.description.as_deref(),
                schema: raw(&schema.schema),
                strict: schema.strict,
            },
        }),
    }
}

#[cfg(test)]
mod tests;

//! A conversation as Bedrock reads it: system texts apart, calls and results as blocks or as text.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, Message, ReasoningContentBlock, ReasoningTextBlock, SystemContentBlock,
    ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolUseBlock,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};
use spillway_types::{ChatMessage, ReasoningPart, Role};

use super::document;
use super::fault::Refusal;
use super::images::{self, Piece};
use super::names::{self, Names};
use super::traits::{PastReasoning, Traits};
use super::turns::{Content, Turns, text};

/// What a tool's message without text says: Bedrock refuses blank text.
const NO_OUTPUT: &str = "(no output)";

/// A conversation as Bedrock reads it.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) system: Vec<SystemContentBlock>,
    pub(super) messages: Vec<Message>,
}

/// A call that an assistant made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PastCall {
    id: String,
    pub(super) name: String,
    arguments: Map<String, Value>,
}

/// How calls and results of the past are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    /// As blocks, which Bedrock takes only beside tools.
    Blocks,
    /// As text, where none is offered.
    Text,
}

/// The calls of each message, by its index.
pub(super) fn past_calls(messages: &[ChatMessage]) -> Result<Vec<Vec<PastCall>>, Refusal> {
    messages.iter().map(calls_of).collect()
}

/// The list as clients of OpenAI's write it; templates have its arguments as values, so both are read.
#[derive(Deserialize)]
struct WireCall {
    #[serde(default)]
    id: String,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
}

fn calls_of(message: &ChatMessage) -> Result<Vec<PastCall>, Refusal> {
    let Some(calls) = &message.tool_calls else { return Ok(Vec::new()) };
    let calls: Vec<WireCall> = serde_json::from_str(calls.as_str()).map_err(|_| {
        Refusal::new("messages", "`tool_calls` of a message is no list of calls with a function and its name")
    })?;
    let call = |call: WireCall| {
        let arguments = arguments(call.function.arguments)?;
        Ok(PastCall { id: call.id, name: call.function.name, arguments })
    };
    calls.into_iter().map(call).collect()
}

fn arguments(arguments: Value) -> Result<Map<String, Value>, Refusal> {
    let value = match arguments {
        Value::Null => Value::Object(Map::new()),
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
        value => value,
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(Refusal::new("messages", "`arguments` of a call in `tool_calls` must be a JSON object")),
    }
}

/// Translates messages one after the other.
pub(super) struct Translation<'a> {
    pub(super) traits: &'a Traits,
    pub(super) history: History,
    pub(super) tools: &'a Names,
    pub(super) calls: &'a [Vec<PastCall>],
}

impl Translation<'_> {
    pub(super) fn conversation(&self, messages: &[ChatMessage]) -> Result<Conversation, Refusal> {
        let mut system = Vec::new();
        let mut turns = Turns::new(self.traits.turns);
        let all_ids = self.calls.iter().flatten().map(|call| call.id.as_str());
        let answered = messages.iter().filter_map(|message| message.tool_call_id.as_deref());
        let ids = Names::new(all_ids.chain(answered), names::is_id_letter);
        let names_by_id: HashMap<&str, &str> =
            self.calls.iter().flatten().map(|call| (call.id.as_str(), call.name.as_str())).collect();
        for (message, calls) in messages.iter().zip(self.calls) {
            match message.role {
                Role::System | Role::Developer => {
                    no_images(message)?;
                    if !message.content.trim().is_empty() {
                        system.push(SystemContentBlock::Text(message.content.clone()));
                    }
                }
                Role::User => {
                    turns.push(&ConversationRole::User, Content::Said, said(&images::pieces(message))?);
                }
                Role::Assistant => {
                    no_images(message)?;
                    let blocks = self.assistant(message, calls, &ids)?;
                    turns.push(&ConversationRole::Assistant, Content::Said, blocks);
                }
                Role::Tool => {
                    let (content, blocks) = self.result(message, &ids, &names_by_id)?;
                    turns.push(&ConversationRole::User, content, blocks);
                }
            }
        }
        Ok(Conversation { system, messages: turns.finish()? })
    }

    /// What an assistant thought, said and called, in this order.
    fn assistant(
        &self,
        message: &ChatMessage,
        calls: &[PastCall],
        ids: &Names,
    ) -> Result<Vec<ContentBlock>, Refusal> {
        let mut blocks = Vec::new();
        if self.traits.past_reasoning == PastReasoning::Signed {
            for part in &message.reasoning {
                blocks.extend(past_reasoning(part)?.map(ContentBlock::ReasoningContent));
            }
        }
        blocks.extend(said(&images::pieces(message))?);
        blocks.extend(calls.iter().map(|call| self.call(call, ids)));
        Ok(blocks)
    }

    fn call(&self, call: &PastCall, ids: &Names) -> ContentBlock {
        let arguments = Value::Object(call.arguments.clone());
        match self.history {
            History::Text => text(format!("[I called {} with {arguments}]", call.name)),
            History::Blocks => {
                let block = ToolUseBlock::builder()
                    .tool_use_id(ids.wire(&call.id))
                    .name(self.tools.wire(&call.name))
                    .input(document::from_json(arguments))
                    .build();
                ContentBlock::ToolUse(block.expect("id, name and input are set"))
            }
        }
    }

    fn result(
        &self,
        message: &ChatMessage,
        ids: &Names,
        names_by_id: &HashMap<&str, &str>,
    ) -> Result<(Content, Vec<ContentBlock>), Refusal> {
        let Some(id) = message.tool_call_id.as_deref() else {
            return Err(Refusal::new(
                "messages",
                "a message of role `tool` has no `tool_call_id`: name its call",
            ));
        };
        let pieces = images::pieces(message);
        if self.history == History::Text {
            let name = names_by_id.get(id).copied().unwrap_or("a tool");
            let mut blocks = vec![text(format!("[Result of {name}:]"))];
            blocks.extend(said(&pieces)?);
            if pieces.is_empty() {
                blocks.push(text(NO_OUTPUT));
            }
            return Ok((Content::Said, blocks));
        }
        let mut content = Vec::new();
        for piece in pieces {
            content.push(match piece {
                Piece::Text(text) => ToolResultContentBlock::Text(text.to_owned()),
                Piece::Image(image) => ToolResultContentBlock::Image(images::block(image)?),
            });
        }
        if content.is_empty() {
            content.push(ToolResultContentBlock::Text(NO_OUTPUT.to_owned()));
        }
        let block = ToolResultBlock::builder()
            .tool_use_id(ids.wire(id))
            .set_content(Some(content))
            .status(ToolResultStatus::Success)
            .build();
        let block = block.expect("id and content are set");
        Ok((Content::Results, vec![ContentBlock::ToolResult(block)]))
    }
}

fn no_images(message: &ChatMessage) -> Result<(), Refusal> {
    if message.images.is_empty() {
        return Ok(());
    }
    let message =
        format!("a message of role `{}` has pictures: move them to one of the user", message.role.as_str());
    Err(Refusal::new("messages", message))
}

/// Text and pictures as blocks.
fn said(pieces: &[Piece<'_>]) -> Result<Vec<ContentBlock>, Refusal> {
    let block = |piece: &Piece<'_>| match piece {
        Piece::Text(words) => Ok(text(*words)),
        Piece::Image(image) => images::block(image).map(ContentBlock::Image),
    };
    pieces.iter().map(block).collect()
}

/// Earlier thinking that its model would know again. Words without a signature came from another one.
fn past_reasoning(part: &ReasoningPart) -> Result<Option<ReasoningContentBlock>, Refusal> {
    match part {
        ReasoningPart::Text { signature: None, .. } => Ok(None),
        ReasoningPart::Text { text, signature: Some(signature) } => {
            let block = ReasoningTextBlock::builder().text(text).signature(signature).build();
            Ok(Some(ReasoningContentBlock::ReasoningText(block.expect("its text is set"))))
        }
        ReasoningPart::Redacted(hidden) => {
            let bytes = BASE64.decode(hidden).map_err(|_| {
                Refusal::new("messages", "hidden reasoning of a message is no base64: send it back unchanged")
            })?;
            Ok(Some(ReasoningContentBlock::RedactedContent(Blob::new(bytes))))
        }
    }
}

//! Messages of a conversation: who may say what, calls and their answers, pictures, what was thought.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use spillway_api::openai::{Content, ContentPart, Message, MessageRole, ThinkingBlock, ToolCall};
use spillway_types::{ChatMessage, ChatPrompt, JsonText, PlacedImage, ReasoningPart, Role};

use super::images;
use crate::http::request_error::RequestError;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 2048;
/// Most pictures of a conversation.
const MAX_IMAGES: usize = 100;

/// A conversation that the model answers.
pub(crate) fn conversation(messages: Vec<Message>) -> Result<ChatPrompt, RequestError> {
    check_num_messages(messages.len())?;
    let mut reader = Reader::default();
    let messages = messages.into_iter().zip(0..).map(|(message, index)| reader.message(message, index));
    Ok(ChatPrompt::new(messages.collect::<Result<_, _>>()?))
}

/// Refuses conversations that are empty or too long.
pub(crate) fn check_num_messages(count: usize) -> Result<(), RequestError> {
    if (1..=MAX_MESSAGES).contains(&count) {
        return Ok(());
    }
    let message = format!("`messages` has {count} messages, must be from 1 to {MAX_MESSAGES}");
    Err(RequestError::invalid("messages", message))
}

/// Reads messages in order: what one may say depends on those before it.
#[derive(Default)]
struct Reader {
    /// Ids of calls that no tool has answered yet.
    open_calls: BTreeSet<String>,
    num_images: usize,
}

impl Reader {
    fn message(&mut self, message: Message, index: usize) -> Result<ChatMessage, RequestError> {
        let role = role(message.role);
        check_owner(&message, role, index)?;
        let (content, images) = match message.content {
            None => (String::new(), Vec::new()),
            Some(Content::Text(text)) => (text, Vec::new()),
            Some(Content::Parts(parts)) => self.parts(parts, role, index)?,
        };
        let tool_calls = message.tool_calls.map(|calls| self.calls(calls, index)).transpose()?;
        if role == Role::Tool {
            self.answered(message.tool_call_id.as_deref(), index)?;
        }
        Ok(ChatMessage {
            role,
            content,
            name: message.name,
            tool_calls,
            tool_call_id: message.tool_call_id,
            images,
            reasoning: reasoning(message.reasoning_content, message.thinking_blocks, index)?,
        })
    }

    /// Texts joined by line feeds, and the pictures between them.
    fn parts(
        &mut self,
        parts: Vec<ContentPart>,
        role: Role,
        index: usize,
    ) -> Result<(String, Vec<PlacedImage>), RequestError> {
        let mut content = String::new();
        let mut images: Vec<PlacedImage> = Vec::new();
        let mut has_text = false;
        // Pictures that stand before the text to come, and so after the line feed before it.
        let mut num_placed = 0;
        for (part, part_idx) in parts.into_iter().zip(0_usize..) {
            match part {
                ContentPart::Text { text } => {
                    if has_text {
                        content.push('\n');
                    }
                    images[num_placed..].iter_mut().for_each(|image| image.offset = content.len());
                    num_placed = images.len();
                    content.push_str(&text);
                    has_text = true;
                }
                ContentPart::ImageUrl { image_url } => {
                    let path = || format!("messages[{index}].content[{part_idx}].image_url.url");
                    self.check_image(role, index, part_idx)?;
                    images.push(PlacedImage { offset: 0, image: images::image(&image_url.url, path)? });
                }
            }
        }
        images[num_placed..].iter_mut().for_each(|image| image.offset = content.len());
        Ok((content, images))
    }

    fn check_image(&mut self, role: Role, index: usize, part_idx: usize) -> Result<(), RequestError> {
        let param = || format!("messages[{index}].content[{part_idx}]");
        if role != Role::User {
            return Err(misplaced(param(), Role::User, role));
        }
        self.num_images += 1;
        if self.num_images > MAX_IMAGES {
            let message = format!("`messages` has more than {MAX_IMAGES} pictures: send fewer");
            return Err(RequestError::invalid(param(), message));
        }
        Ok(())
    }

    /// Calls as chat templates expect them: with arguments as an object, not as its text.
    fn calls(&mut self, calls: Vec<ToolCall>, index: usize) -> Result<JsonText, RequestError> {
        let mut list = Vec::with_capacity(calls.len());
        let mut own = BTreeSet::new();
        for (call, call_idx) in calls.into_iter().zip(0_usize..) {
            let path = |field: &str| format!("messages[{index}].tool_calls[{call_idx}].{field}");
            if !own.insert(call.id.clone()) {
                let param = path("id");
                let message = format!("`{param}` is that of another call of the message: give each its own");
                return Err(RequestError::invalid(param, message));
            }
            let arguments = arguments(&call.function.arguments).map_err(|error| {
                let param = path("function.arguments");
                let message = format!("`{param}` must be the text of a JSON object: {error}");
                RequestError::invalid(param, message)
            })?;
            list.push(serde_json::json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": arguments},
            }));
        }
        self.open_calls.append(&mut own);
        Ok(JsonText::from_valid(Value::Array(list).to_string()))
    }

    /// A tool answers a call that was made, once.
    fn answered(&mut self, call: Option<&str>, index: usize) -> Result<(), RequestError> {
        let param = format!("messages[{index}].tool_call_id");
        let Some(call) = call else { return Err(RequestError::Missing { param }) };
        if self.open_calls.remove(call) {
            return Ok(());
        }
        let message = format!("`{param}` names no call of an assistant above that is still to be answered");
        Err(RequestError::invalid(param, message))
    }
}

/// A function that takes no arguments is called with none, which some clients write as no text at all.
fn arguments(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    if text.is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) }
}

fn role(role: MessageRole) -> Role {
    match role {
        MessageRole::System => Role::System,
        MessageRole::Developer => Role::Developer,
        MessageRole::User => Role::User,
        MessageRole::Assistant => Role::Assistant,
        MessageRole::Tool => Role::Tool,
    }
}

/// Refuses fields that belong to another role.
fn check_owner(message: &Message, role: Role, index: usize) -> Result<(), RequestError> {
    for (field, is_given, owner) in [
        ("tool_calls", message.tool_calls.is_some(), Role::Assistant),
        ("tool_call_id", message.tool_call_id.is_some(), Role::Tool),
        ("reasoning_content", message.reasoning_content.is_some(), Role::Assistant),
        ("thinking_blocks", message.thinking_blocks.is_some(), Role::Assistant),
    ] {
        if is_given && role != owner {
            return Err(misplaced(format!("messages[{index}].{field}"), owner, role));
        }
    }
    Ok(())
}

fn misplaced(param: String, owner: Role, role: Role) -> RequestError {
    let message =
        format!("`{param}` is only for messages of role `{}`, this is `{}`", owner.as_str(), role.as_str());
    RequestError::invalid(param, message)
}

/// What was thought: in blocks if they are given, since only they hold signatures.
fn reasoning(
    words: Option<String>,
    blocks: Option<Vec<ThinkingBlock>>,
    index: usize,
) -> Result<Vec<ReasoningPart>, RequestError> {
    let Some(blocks) = blocks else {
        return Ok(words.map(|text| ReasoningPart::Text { text, signature: None }).into_iter().collect());
    };
    if let Some(words) = words {
        let in_blocks: String = blocks.iter().filter_map(thinking).collect();
        if words != in_blocks {
            let param = format!("messages[{index}].reasoning_content");
            let message = format!("`{param}` has other words than `thinking_blocks` beside it: leave it out");
            return Err(RequestError::invalid(param, message));
        }
    }
    let parts = blocks.into_iter().map(|block| match block {
        ThinkingBlock::Thinking { thinking, signature } => ReasoningPart::Text { text: thinking, signature },
        ThinkingBlock::RedactedThinking { data } => ReasoningPart::Redacted(data),
    });
    Ok(parts.collect())
}

fn thinking(block: &ThinkingBlock) -> Option<&str> {
    match block {
        ThinkingBlock::Thinking { thinking, .. } => Some(thinking),
        ThinkingBlock::RedactedThinking { .. } => None,
    }
}

#[cfg(test)]
mod tests;

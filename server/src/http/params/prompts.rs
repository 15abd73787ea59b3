//! What to go on from: conversations and prompts.

use std::num::NonZeroU32;

use serde_json::{Map, Value};
use spillway_api::openai::{ChatRequest, Content, ContentPart, Message, MessageRole, PromptInput, ToolCall};
use spillway_types::{ChatEnd, ChatMessage, ChatPrompt, JsonText, Prompt, Role, TokenId};

use crate::http::request_error::RequestError;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 2048;
/// Most prompts of one request.
const MAX_PROMPTS: usize = 128;
/// Most choices of all prompts of a request together.
const MAX_CHOICES: usize = 1024;
/// Variables of chat templates that have a field of their own, or that only the server sets.
const RESERVED_VARIABLES: [&str; 12] = [
    "add_generation_prompt",
    "bos_token",
    "chat_template",
    "continue_final_message",
    "documents",
    "eos_token",
    "messages",
    "pad_token",
    "strftime_now",
    "tokenize",
    "tools",
    "unk_token",
];

/// The prompt of a chat request.
pub(crate) fn chat_prompt(request: ChatRequest) -> Result<ChatPrompt, RequestError> {
    let end = match (request.continue_final_message, request.add_generation_prompt) {
        (Some(true), Some(true)) => {
            let message = "`continue_final_message` and `add_generation_prompt` exclude each other: set one of \
                           them to false";
            return Err(RequestError::invalid("continue_final_message", message));
        }
        (Some(true), _) => ChatEnd::OpenLastMessage,
        (_, Some(false)) => ChatEnd::LastMessage,
        (_, Some(true) | None) => ChatEnd::AssistantTurn,
    };
    let arguments = request.chat_template_kwargs.map(template_arguments).transpose()?;
    Ok(ChatPrompt { end, arguments, ..conversation(request.messages)? })
}

fn template_arguments(arguments: Map<String, Value>) -> Result<JsonText, RequestError> {
    match arguments.keys().find(|name| RESERVED_VARIABLES.contains(&name.as_str())) {
        Some(name) => {
            let message = format!(
                "`chat_template_kwargs` must not set `{name}`, which is reserved: leave it out, and use the \
                 request's own field if it has one"
            );
            Err(RequestError::invalid("chat_template_kwargs", message))
        }
        None => Ok(JsonText::from_valid(Value::Object(arguments).to_string())),
    }
}

/// A conversation that the model answers.
pub(crate) fn conversation(messages: Vec<Message>) -> Result<ChatPrompt, RequestError> {
    check_num_messages(messages.len())?;
    let messages = messages.into_iter().zip(0..).map(|(message, index)| chat_message(message, index));
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

fn chat_message(message: Message, index: usize) -> Result<ChatMessage, RequestError> {
    let role = match message.role {
        MessageRole::System => Role::System,
        MessageRole::Developer => Role::Developer,
        MessageRole::User => Role::User,
        MessageRole::Assistant => Role::Assistant,
        MessageRole::Tool => Role::Tool,
    };
    let misplaced = |field: &str, owner: &str| {
        let param = format!("messages[{index}].{field}");
        let message =
            format!("`{param}` is only for messages of role `{owner}`, this is `{}`", role.as_str());
        Err(RequestError::invalid(param, message))
    };
    if message.tool_calls.is_some() && role != Role::Assistant {
        return misplaced("tool_calls", "assistant");
    }
    if message.tool_call_id.is_some() && role != Role::Tool {
        return misplaced("tool_call_id", "tool");
    }
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let texts: Vec<String> = parts.into_iter().map(|ContentPart::Text { text }| text).collect();
            texts.join("\n")
        }
    };
    let tool_calls = message.tool_calls.map(|calls| tool_calls(calls, index)).transpose()?;
    let (name, tool_call_id) = (message.name, message.tool_call_id);
    Ok(ChatMessage { name, tool_calls, tool_call_id, ..ChatMessage::new(role, content) })
}

/// Calls as chat templates expect them: with arguments as an object, not as its text.
fn tool_calls(calls: Vec<ToolCall>, index: usize) -> Result<JsonText, RequestError> {
    let mut list = Vec::with_capacity(calls.len());
    for (call, call_idx) in calls.into_iter().zip(0_usize..) {
        let arguments = serde_json::from_str::<Map<String, Value>>(&call.function.arguments);
        let arguments = arguments.map_err(|error| {
            let param = format!("messages[{index}].tool_calls[{call_idx}].function.arguments");
            let message = format!("`{param}` must be the text of a JSON object: {error}");
            RequestError::invalid(param, message)
        })?;
        list.push(serde_json::json!({
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": arguments},
        }));
    }
    Ok(JsonText::from_valid(Value::Array(list).to_string()))
}

/// The prompts of a completion: at least one, and not too many choices in all.
pub(crate) fn completion_prompts(input: PromptInput, n: NonZeroU32) -> Result<Vec<Prompt>, RequestError> {
    let tokens = |ids: Vec<u32>| Prompt::Tokens(ids.into_iter().map(TokenId).collect());
    let prompts: Vec<Prompt> = match input {
        PromptInput::Text(text) => vec![Prompt::Text(text)],
        PromptInput::Tokens(ids) if ids.is_empty() => Vec::new(),
        PromptInput::Tokens(ids) => vec![tokens(ids)],
        PromptInput::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        PromptInput::TokenLists(lists) => lists.into_iter().map(tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
        let message = format!("`prompt` holds {} prompts, must be from 1 to {MAX_PROMPTS}", prompts.len());
        return Err(RequestError::invalid("prompt", message));
    }
    let num_choices = prompts.len() * n.get() as usize;
    if num_choices > MAX_CHOICES {
        let message = format!(
            "{} prompts with `n` of {n} make {num_choices} choices, limit {MAX_CHOICES}",
            prompts.len()
        );
        return Err(RequestError::invalid("n", message));
    }
    Ok(prompts)
}

//! What to go on from: conversations and prompts.

use std::num::NonZeroU32;

use serde_json::{Map, Value};
use spillway_api::openai::{ChatRequest, PromptInput};
use spillway_types::{ChatEnd, ChatPrompt, JsonText, Prompt, TokenId};

use super::messages::conversation;
use super::tools::{json_text, tool_use};
use crate::http::request_error::RequestError;

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
    let arguments = request.chat_template_kwargs.as_ref().map(template_arguments).transpose()?;
    let tools = tool_use(request.tools, request.tool_choice, request.parallel_tool_calls)?;
    Ok(ChatPrompt { end, arguments, tools, ..conversation(request.messages)? })
}

fn template_arguments(arguments: &Map<String, Value>) -> Result<JsonText, RequestError> {
    match arguments.keys().find(|name| RESERVED_VARIABLES.contains(&name.as_str())) {
        Some(name) => {
            let message = format!(
                "`chat_template_kwargs` must not set `{name}`, which is reserved: leave it out, and use the \
                 request's own field if it has one"
            );
            Err(RequestError::invalid("chat_template_kwargs", message))
        }
        None => Ok(json_text(arguments)),
    }
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

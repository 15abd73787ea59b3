//! All that a request says in words, so that content rules can look at it: whatever would leave with it is looked at.

use std::borrow::Cow;

use serde_json::Value;
use spillway_types::{ChatMessage, ChatPrompt, JsonText, OutputFormat, Prompt, ReasoningPart};

/// The texts of a prompt and of the format that is asked for. A prompt of tokens has none: it must be read another way.
pub(crate) fn texts<'a>(prompt: &'a Prompt, format: &'a OutputFormat) -> Vec<Cow<'a, str>> {
    let mut texts = Vec::new();
    match prompt {
        Prompt::Text(text) => texts.push(text.into()),
        Prompt::Tokens(_) => {}
        Prompt::Chat(chat) => of_chat(chat, &mut texts),
    }
    if let OutputFormat::JsonSchema(schema) = format {
        texts.extend(schema.description.as_deref().map(Cow::Borrowed));
        texts.push(schema.name.as_str().into());
        of_json(&schema.schema, &mut texts);
    }
    texts
}

fn of_chat<'a>(chat: &'a ChatPrompt, texts: &mut Vec<Cow<'a, str>>) {
    for message in &chat.messages {
        of_message(message, texts);
    }
    for tool in chat.tools.iter().flat_map(|used| &used.tools) {
        texts.push(tool.name.as_str().into());
        texts.extend(tool.description.as_deref().map(Cow::Borrowed));
        tool.parameters.iter().for_each(|schema| of_json(schema, texts));
    }
    chat.arguments.iter().for_each(|arguments| of_json(arguments, texts));
}

fn of_message<'a>(message: &'a ChatMessage, texts: &mut Vec<Cow<'a, str>>) {
    texts.push(message.content.as_str().into());
    let names = message.name.iter().chain(&message.tool_call_id);
    texts.extend(names.map(|name| Cow::Borrowed(name.as_str())));
    for part in &message.reasoning {
        match part {
            ReasoningPart::Text { text, .. } => texts.push(text.as_str().into()),
            // Only its provider can read it, and has written it.
            ReasoningPart::Redacted(_) => {}
        }
    }
    message.tool_calls.iter().for_each(|calls| of_json(calls, texts));
}

/// Strings as they are meant, not as JSON writes them: a line feed is one character of a pattern, not `\n`.
fn of_json(json: &JsonText, texts: &mut Vec<Cow<'_, str>>) {
    match serde_json::from_str(json.as_str()) {
        Ok(value) => of_value(value, texts),
        // It was JSON when it was taken in; whatever it is now, it is looked at.
        Err(_) => texts.push(json.as_str().to_owned().into()),
    }
}

fn of_value(value: Value, texts: &mut Vec<Cow<'_, str>>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => texts.push(number.to_string().into()),
        Value::String(text) => texts.push(text.into()),
        Value::Array(items) => items.into_iter().for_each(|item| of_value(item, texts)),
        Value::Object(members) => {
            for (name, member) in members {
                texts.push(name.into());
                of_value(member, texts);
            }
        }
    }
}

//! The variables that a chat template sees.

use std::collections::BTreeMap;

use minijinja::Value;
use serde_json::Value as Json;
use spillway_types::{ChatMessage, JsonText, ReasoningPart};

use super::marking::Marker;
use super::{ChatInput, PromptEnd, Timestamp, environment};
use crate::error::TextError;

/// One conversation with its JSON parsed, ready to be shown to the template with or without marks.
#[derive(Debug)]
pub(super) struct Context<'a> {
    messages: Vec<(&'a ChatMessage, Option<Json>)>,
    tools: Option<Json>,
    arguments: Option<Json>,
    end: PromptEnd,
    now: Timestamp,
}

impl<'a> Context<'a> {
    pub(super) fn parse(input: &ChatInput<'a>) -> Result<Self, TextError> {
        let messages = input
            .messages
            .iter()
            .map(|message| Ok((message, parse_json("tool_calls", message.tool_calls.as_ref())?)));
        Ok(Self {
            messages: messages.collect::<Result<_, TextError>>()?,
            tools: parse_json("tools", input.tools)?,
            arguments: parse_json("chat_template_kwargs", input.arguments)?,
            end: input.end,
            now: input.now,
        })
    }

    /// The variables by name, with the client's strings marked.
    pub(super) fn variables(&self, marker: Marker<'_>) -> BTreeMap<String, Value> {
        let json = |value: &Option<Json>| {
            Value::from_serialize(value.as_ref().map(|value| marked_json(value, marker)))
        };
        let mut variables = BTreeMap::new();
        // First, so that it cannot replace what follows.
        if let Some(Json::Object(arguments)) = &self.arguments {
            for (name, value) in arguments {
                variables.insert(name.clone(), Value::from_serialize(marked_json(value, marker)));
            }
        }
        let messages =
            self.messages.iter().map(|(message, calls)| message_value(message, calls.as_ref(), marker));
        variables.insert("messages".to_owned(), messages.collect());
        variables.insert("tools".to_owned(), json(&self.tools));
        variables.insert("documents".to_owned(), Value::from(()));
        variables
            .insert("add_generation_prompt".to_owned(), Value::from(self.end == PromptEnd::AssistantTurn));
        variables.insert("strftime_now".to_owned(), environment::strftime_now(self.now));
        variables
    }

    /// Calls `visit` with every string that a client wrote.
    pub(super) fn for_each_string(&self, visit: &mut dyn FnMut(&str)) {
        for (message, calls) in &self.messages {
            visit(&message.content);
            message.name.iter().chain(&message.tool_call_id).for_each(|text| visit(text));
            if let Some(text) = thoughts(message) {
                visit(&text);
            }
            if let Some(calls) = calls {
                visit_json(calls, visit);
            }
        }
        self.tools.iter().chain(&self.arguments).for_each(|json| visit_json(json, visit));
    }
}

fn parse_json(field: &'static str, text: Option<&JsonText>) -> Result<Option<Json>, TextError> {
    let parsed = text.map(|text| serde_json::from_str(text.as_str())).transpose();
    parsed.map_err(|source| TextError::MessageJson { field, source })
}

/// A message as the mapping that templates expect. What the message does not have, the mapping lacks.
fn message_value(message: &ChatMessage, calls: Option<&Json>, marker: Marker<'_>) -> Value {
    let text = |text: &String| Value::from(marker.mark(text));
    let fields = [
        ("role", Some(Value::from(message.role.as_str()))),
        ("content", Some(text(&message.content))),
        ("name", message.name.as_ref().map(text)),
        ("tool_calls", calls.map(|calls| Value::from_serialize(marked_json(calls, marker)))),
        ("tool_call_id", message.tool_call_id.as_ref().map(text)),
        ("reasoning_content", thoughts(message).as_ref().map(text)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What an assistant thought, in words, if there are any: as templates of models that think expect it.
fn thoughts(message: &ChatMessage) -> Option<String> {
    let words = message.reasoning.iter().filter_map(|part| match part {
        ReasoningPart::Text { text, .. } => Some(text.as_str()),
        ReasoningPart::Redacted(_) => None,
    });
    let words: String = words.collect();
    (!words.is_empty()).then_some(words)
}

fn marked_json(json: &Json, marker: Marker<'_>) -> Json {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => json.clone(),
        Json::String(text) => Json::String(marker.mark(text)),
        Json::Array(items) => items.iter().map(|item| marked_json(item, marker)).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (marker.mark_name(name), marked_json(value, marker))).collect()
        }
    }
}

fn visit_json(json: &Json, visit: &mut dyn FnMut(&str)) {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| visit_json(item, visit)),
        Json::Object(members) => members.iter().for_each(|(name, value)| {
            visit(name);
            visit_json(value, visit);
        }),
    }
}

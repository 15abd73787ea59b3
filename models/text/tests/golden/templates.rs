//! Templates in the manner of today's families, against what transformers renders of them.

use std::path::Path;

use serde_json::Value;
use spillway_text::{ChatInput, ChatTemplate, PromptEnd, TextError, Timestamp};
use spillway_types::{ChatMessage, JsonText};

use crate::cases::messages;

/// A conversation and what its template makes of it.
struct Case<'a> {
    name: String,
    source: &'a str,
    messages: Vec<ChatMessage>,
    tools: Option<JsonText>,
    arguments: Option<JsonText>,
    end: PromptEnd,
    /// A text, or the words of a refusal.
    expected: Result<&'a str, &'a str>,
}

fn case<'a>(golden: &'a Value, case: &'a Value) -> Case<'a> {
    let text = |value: &'a Value| value.as_str().expect("a text");
    let json = |key: &str| case.get(key).map(|value| JsonText::from_valid(value.to_string()));
    let template = text(&case["template"]);
    Case {
        name: format!("{template}: {} {}", text(&case["chat"]), case["arguments"]),
        source: text(&golden["templates"][template]),
        messages: messages(&case["messages"]),
        tools: json("tools"),
        arguments: json("arguments"),
        end: if case["add_generation_prompt"].as_bool().expect("a flag") {
            PromptEnd::AssistantTurn
        } else {
            PromptEnd::LastMessage
        },
        expected: case.get("rendered").map(text).ok_or_else(|| text(&case["raises"])),
    }
}

#[test]
fn templates_of_every_family_render_and_refuse_as_transformers_has_them() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/templates.json");
    let golden: Value = serde_json::from_slice(&super::read(&file)).expect("goldens are JSON");
    let now = Timestamp::from_unix_seconds(golden["now_unix_seconds"].as_i64().expect("a time"));
    // Its bos and eos are those of the golden file.
    let tokenizer = super::load("llama2").tokenizer;
    let cases = golden["cases"].as_array().expect("a list");
    assert!(cases.len() >= 240, "{} cases, must be all of them", cases.len());
    for json in cases {
        let Case { name, source, messages, tools, arguments, end, expected } = case(&golden, json);
        let template = ChatTemplate::compile(Some(source), &tokenizer).expect("the template is sound");
        let input =
            ChatInput { messages: &messages, tools: tools.as_ref(), arguments: arguments.as_ref(), end, now };
        match (template.render(&input), expected) {
            (Ok(prompt), Ok(text)) => assert_eq!(prompt.text(), text, "{name}"),
            (Err(TextError::TemplateRaised { message }), Err(words)) => assert_eq!(message, words, "{name}"),
            (found, expected) => panic!("{name}: {found:?}, expected {expected:?}"),
        }
    }
}

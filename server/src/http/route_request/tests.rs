//! Labels, sessions and budgets, and that rules look at all that would leave.

use serde_json::{Value, json};
use spillway_api::openai::{ChatRequest, GenerationRequest};
use spillway_types::TokenId;

use super::*;
use crate::config::ClientKey;
use crate::http::client::Wishes;
use crate::http::generation::RequestName;
use crate::http::params::{OwnFields, chat_prompt};
use crate::http::state::SamplingDefaults;

fn client(key: ClientKey, wishes: Wishes) -> Client {
    Client { name: RequestName(Arc::from("r")), key, wishes }
}

fn said(client: &Client, route: Privacy, by_rule: Option<Label>) -> (Privacy, String) {
    let label = label(client, route, by_rule);
    (label.privacy, label.source.to_string())
}

#[test]
fn the_strictest_of_route_key_header_and_rule_wins() {
    use Privacy::{Private, Standard};
    let key = |privacy| ClientKey { name: Some(Arc::from("ward 7")), privacy };
    let wishes = |privacy| Wishes { privacy, ..Wishes::default() };
    let rule = Label { privacy: Private, source: LabelSource::Rule(Arc::from("iban")) };
    let silent = client(ClientKey::default(), Wishes::default());
    assert_eq!(said(&silent, Standard, None), (Standard, "route".to_owned()));
    assert_eq!(said(&silent, Private, None), (Private, "route".to_owned()));
    assert_eq!(said(&silent, Standard, Some(rule)), (Private, "rule iban".to_owned()));
    let by_key = client(key(Some(Private)), wishes(Some(Standard)));
    assert_eq!(said(&by_key, Standard, None), (Private, "key ward 7".to_owned()));
    let by_header = client(key(Some(Standard)), wishes(Some(Private)));
    assert_eq!(said(&by_header, Standard, None), (Private, "header".to_owned()));
    let lenient = client(key(Some(Standard)), wishes(Some(Standard)));
    assert_eq!(said(&lenient, Private, None), (Private, "route".to_owned()), "nobody can loosen a route");
}

fn rules() -> ContentRules {
    ContentRules::new([(Arc::from("secret"), r"top\s+secret".to_owned())]).expect("it is an expression")
}

fn chat(body: &Value) -> (Prompt, OutputFormat) {
    let own: ChatRequest = serde_json::from_value(body.clone()).expect("it has the right types");
    let generation: GenerationRequest = serde_json::from_value(body.clone()).expect("it has the right types");
    let fields = OwnFields::of_chat(&own).expect("in range");
    let params =
        GenerationParams::check(generation, &fields, &SamplingDefaults::default()).expect("in range");
    (Prompt::Chat(chat_prompt(own).expect("it is sound")), params.format)
}

#[test]
fn a_rule_sees_every_text_that_would_leave() {
    // As a line feed, which JSON writes as two other characters.
    let secret = "top\nsecret";
    let user = json!({"role": "user", "content": "hi"});
    let arguments = json!({"a": [secret]}).to_string();
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
    let calls = json!({"role": "assistant", "tool_calls": [call]});
    let calls_other = json!({"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let function = json!({"name": "f", "description": secret});
    let schema = json!({"name": "f", "parameters": {"type": "object", "properties": {secret: {}}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": secret}}});
    for body in [
        json!({"messages": [{"role": "system", "content": secret}, user]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": secret}]}]}),
        json!({"messages": [{"role": "user", "content": "hi", "name": secret}]}),
        json!({"messages": [{"role": "assistant", "content": "a", "reasoning_content": secret}, user]}),
        json!({"messages": [user, calls]}),
        json!({"messages": [user, calls_other, {"role": "tool", "tool_call_id": "c", "content": secret}]}),
        json!({"messages": [user], "tools": [{"type": "function", "function": function}]}),
        json!({"messages": [user], "tools": [{"type": "function", "function": schema}]}),
        json!({"messages": [user], "response_format": format}),
        json!({"messages": [user], "chat_template_kwargs": {"note": secret}}),
    ] {
        let (prompt, format) = chat(&body);
        let found = by_rule(&rules(), &[prompt], &format).map(|label| label.source.to_string());
        assert_eq!(found.as_deref(), Some("rule secret"), "{body}");
    }
    let (prompt, format) = chat(&json!({"messages": [user]}));
    assert_eq!(by_rule(&rules(), &[prompt], &format), None);
}

#[test]
fn one_private_prompt_keeps_all_of_its_request_inside_and_tokens_cannot_be_read() {
    let text = |text: &str| Prompt::Text(text.to_owned());
    let of = |prompts: &[Prompt]| by_rule(&rules(), prompts, &OutputFormat::Text).map(|label| label.privacy);
    assert_eq!(of(&[text("hi"), text("top secret")]), Some(Privacy::Private));
    assert_eq!(of(&[text("hi"), text("ho")]), None);
    assert_eq!(of(&[Prompt::Tokens(vec![TokenId(1)])]), Some(Privacy::Private));
    let unruled = by_rule(&ContentRules::none(), &[Prompt::Tokens(vec![TokenId(1)])], &OutputFormat::Text);
    assert_eq!(unruled, None, "without rules there is nothing to look for");
}

#[test]
fn scores_are_taken_of_what_the_user_said_last() {
    let (prompt, _) = chat(&json!({"messages": [
        {"role": "user", "content": "first"}, {"role": "assistant", "content": "a"},
        {"role": "user", "content": "last"}, {"role": "assistant", "content": "b"},
    ]}));
    assert_eq!(last_words(&prompt), "last");
    assert_eq!(last_words(&Prompt::Text("all".to_owned())), "all");
}

//! Each thing that not every backend can do, by the field that asks for it.

use serde_json::{Value, json};
use spillway_api::openai::{ChatRequest, GenerationRequest};

use super::*;
use crate::http::params::{OwnFields, chat_prompt};
use crate::http::state::SamplingDefaults;

/// A model's own defaults, which are nobody's wish.
const DEFAULTS: SamplingDefaults =
    SamplingDefaults { temperature: 0.6, top_p: 0.9, top_k: NonZeroU32::new(50), min_p: 0.1 };

fn read(fields: &Value) -> (GenerationParams, Prompt) {
    let mut body = json!({"messages": [{"role": "user", "content": "12345678"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    let own: ChatRequest = serde_json::from_value(body.clone()).expect("it has the right types");
    let generation: GenerationRequest = serde_json::from_value(body).expect("it has the right types");
    let own_fields = OwnFields::of_chat(&own).expect("in range");
    let params = GenerationParams::check(generation, &own_fields, &DEFAULTS).expect("in range");
    (params, Prompt::Chat(chat_prompt(own).expect("it is sound")))
}

#[test]
fn a_plain_chat_asks_for_nothing_special() {
    let (params, prompt) =
        read(&json!({"temperature": 0.3, "top_p": 0.5, "max_tokens": 9, "stop": "a", "user": "ann"}));
    assert_eq!(asked_fields(&params, &prompt), [(Feature::Chat, "messages")]);
    let needs = needs(&params, &prompt);
    assert_eq!((needs.prompt_tokens, needs.max_tokens), (MESSAGE_TOKENS + 2, Some(9)));
}

#[test]
fn each_special_wish_is_known_by_its_field() {
    let picture = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:;base64,/9j/4A=="}},
    ]}]);
    let tool = json!([{"type": "function", "function": {"name": "add"}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}});
    for (field, value, feature) in [
        ("tools", tool, Feature::Tools),
        ("messages", picture, Feature::Images),
        ("response_format", json!({"type": "json_object"}), Feature::JsonObject),
        ("response_format", schema, Feature::JsonSchema),
        ("reasoning_effort", json!("low"), Feature::ReasoningEffort),
        ("logprobs", json!(true), Feature::Logprobs),
        ("prompt_logprobs", json!(1), Feature::PromptLogprobs),
        ("seed", json!(7), Feature::Seed),
        ("frequency_penalty", json!(0.5), Feature::Penalties),
        ("presence_penalty", json!(-0.5), Feature::Penalties),
        ("repetition_penalty", json!(1.1), Feature::TokenRules),
        ("top_k", json!(5), Feature::TokenRules),
        ("min_p", json!(0.2), Feature::TokenRules),
        ("logit_bias", json!({"5": 1}), Feature::TokenRules),
        ("bad_words", json!(["a"]), Feature::TokenRules),
        ("allowed_token_ids", json!([5]), Feature::TokenRules),
        ("min_tokens", json!(1), Feature::TokenRules),
        ("stop_token_ids", json!([5]), Feature::TokenRules),
        ("include_stop_str_in_output", json!(true), Feature::TokenRules),
        ("ignore_eos", json!(true), Feature::TokenRules),
        ("skip_special_tokens", json!(false), Feature::TokenRules),
        ("truncate_prompt_tokens", json!(5), Feature::TokenRules),
        ("return_tokens_as_token_ids", json!(true), Feature::TokenRules),
        ("chat_template_kwargs", json!({"a": 1}), Feature::TokenRules),
        ("cache_salt", json!("s"), Feature::TokenRules),
        ("n", json!(2), Feature::SeveralChoices),
        ("continue_final_message", json!(true), Feature::ContinuedMessage),
        ("add_generation_prompt", json!(false), Feature::ContinuedMessage),
    ] {
        let mut fields = json!({});
        fields[field] = value;
        let (params, prompt) = read(&fields);
        let asked = asked_fields(&params, &prompt);
        assert!(asked.contains(&(feature, field)), "{field}: {asked:?}");
        assert!(needs(&params, &prompt).features.contains(&feature), "{field}");
    }
}

#[test]
fn several_choices_may_each_be_as_long_as_they_may() {
    let (params, prompt) = read(&json!({"n": 3, "max_tokens": 10}));
    assert_eq!(needs(&params, &prompt).max_tokens, Some(30));
}

#[test]
fn tokens_are_counted_and_a_truncated_prompt_is_no_longer_than_what_is_kept() {
    let (params, _) = read(&json!({}));
    let tokens = Prompt::Tokens(vec![spillway_types::TokenId(1); 9]);
    assert_eq!(needs(&params, &tokens).prompt_tokens, 9);
    let (params, prompt) = read(&json!({"truncate_prompt_tokens": 2}));
    assert_eq!(needs(&params, &prompt).prompt_tokens, 2);
}

//! Bodies that are refused, and what the refusal says.

use std::num::NonZeroU32;

use serde_json::json;

use super::*;
use crate::config::ByteSize;

fn refused<T: FromBody>(body: &str) -> String {
    match parse::<T>(body.as_bytes()) {
        Ok(_) => panic!("{body} was taken"),
        Err(error) => error.to_string(),
    }
}

fn chat(field: &str, value: Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    body.to_string()
}

#[test]
fn says_where_json_breaks() {
    assert_eq!(
        refused::<ChatRequest>("{\"messages\": [}"),
        "body is not valid JSON: expected value at line 1 column 15"
    );
    assert_eq!(refused::<ChatRequest>("[]"), "body must be a JSON object");
}

#[test]
fn names_fields_that_are_unknown_unsupported_or_missing() {
    for (body, expected) in [
        (chat("temprature", json!(1)), "unknown field `temprature`"),
        (chat("temprature", json!(null)), "unknown field `temprature`"),
        (chat("store", json!(true)), "`store` is not supported: leave it out or send false"),
        (chat("prediction", json!({})), "`prediction` is not supported: leave it out"),
        (
            chat("functions", json!([{"name": "add"}])),
            "`functions` is not supported: leave it out or send []",
        ),
        (
            chat("stream_options", json!({"include_obfuscation": true})),
            "`stream_options.include_obfuscation` is not supported: leave it out or send false",
        ),
        (json!({"model": "tiny"}).to_string(), "`messages` is missing"),
        (json!({"messages": null}).to_string(), "`messages` is missing"),
    ] {
        assert_eq!(refused::<ChatRequest>(&body), expected);
    }
}

#[test]
fn names_what_is_wrong_inside_messages() {
    for (message, expected) in [
        (json!("hi"), "`messages[0]` must be a JSON object"),
        (json!({"role": "user"}), "`messages[0].content` is missing"),
        (json!({"role": "assistant", "content": null}), "`messages[0].content` is missing"),
        (json!({"content": "hi"}), "`messages[0].role` is missing"),
        (
            json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}),
            "`messages[0].tool_calls[0]`: missing field `function`",
        ),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}),
            "part of type \"input_audio\" is not supported, only \"text\" and \"image_url\" are",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url"}]}),
            "`messages[0].content[0].image_url` is missing",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]}),
            "`messages[0].content[0].image_url.url`: must be a string",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "", "detail": "low"}}]}),
            "`messages[0].content[0].image_url.detail` is \"low\", only \"auto\" is supported: leave it out",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "", "size": 3}}]}),
            "unknown field `messages[0].content[0].image_url.size`",
        ),
        (json!({"role": "user", "content": [{"text": "a"}]}), "`messages[0].content[0].type` is missing"),
        (json!({"role": "user", "content": [{"type": "text"}]}), "`messages[0].content[0].text` is missing"),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}),
            "unknown field `messages[0].content[0].cache_control`",
        ),
        (json!({"role": "user", "content": 7}), "`messages[0].content`: must be a string or a list of parts"),
    ] {
        assert_eq!(refused::<ChatRequest>(&json!({"messages": [message]}).to_string()), expected);
    }
    let critic = json!({"messages": [{"role": "critic", "content": "4"}]}).to_string();
    assert!(refused::<ChatRequest>(&critic).starts_with("`messages[0].role`: unknown variant `critic`"));
}

#[test]
fn names_the_field_of_a_wrong_type() {
    for (field, value) in [
        ("temperature", json!("hot")),
        ("n", json!(-1)),
        ("stop", json!(3)),
        ("stream", json!("yes")),
        ("priority", json!([1])),
        ("seed", json!(1.5)),
    ] {
        let message = refused::<Body<ChatRequest>>(&chat(field, value));
        assert!(message.starts_with(&format!("`{field}`: ")), "{message}");
    }
    let message = refused::<CompletionRequest>(r#"{"prompt": [1, "a"]}"#);
    assert!(message.starts_with("`prompt`: must be a string, a list of strings"), "{message}");
}

#[test]
fn too_many_messages_are_refused_before_one_is_looked_at() {
    let body = json!({"messages": vec![1; 2049]}).to_string();
    assert_eq!(refused::<ChatRequest>(&body), "`messages` has 2049 messages, must be from 1 to 2048");
}

#[tokio::test]
async fn large_bodies_are_read_and_refused_as_small_ones_are() {
    let large = " ".repeat(MAX_INLINE_BYTES);
    for (end, expected) in [(r#"{"prompt": "hi"}"#, Ok(())), ("[]", Err("body must be a JSON object"))] {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .body(HttpBody::from(format!("{large}{end}")))
            .expect("a request");
        let limits = HttpLimits {
            max_body: ByteSize::from_mib(1),
            max_concurrent_requests: NonZeroU32::MIN,
            request_timeout: None,
            client_timeout: Duration::from_mins(1),
        };
        let read = body::<CompletionRequest>(request, &limits).await;
        let read = read.map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned));
    }
}

#[test]
fn takes_defaults_that_clients_write_out() {
    let body = json!({
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello", "refusal": null, "tool_calls": null, "annotations": []},
            {"role": "user", "content": [{"type": "text", "text": "bye"}]},
        ],
        "model": null, "n": 1, "logprobs": false, "presence_penalty": 0.0, "frequency_penalty": 0,
        "response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "logit_bias": {}, "user": null,
        "priority": 0, "stream": false, "stream_options": null, "repetition_penalty": 1.0,
    });
    let request = parse::<Body<ChatRequest>>(body.to_string().as_bytes()).expect("nothing is asked for");
    assert_eq!((request.own.messages.len(), request.generation.n), (3, Some(1)));
    assert_eq!((request.generation.priority, request.own.logprobs), (None, None));
}

#[test]
fn content_type_is_json_with_or_without_parameters() {
    for (value, is_json) in [
        ("application/json", true),
        ("application/json; charset=utf-8", true),
        ("Application/JSON", true),
        ("application/vnd.api+json", true),
        ("text/plain", false),
        ("application/x-www-form-urlencoded", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().expect("a header value"));
        assert_eq!(check_content_type(&headers).is_ok(), is_json, "{value}");
    }
    let error = check_content_type(&HeaderMap::new()).expect_err("there is none");
    assert_eq!(error.to_string(), "content-type is missing, must be `application/json`");
}

//! Answers that go well, whole and streamed.

use serde_json::{Value, json};
use spillway_types::{CacheSalt, FinishReason, Prompt, Sampling, TokenId};

use super::fake::{Setup, done, finished, sending, started, text};
use crate::http::SamplingDefaults;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn hi() -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]})
}

fn with(mut body: Value, fields: &Value) -> Value {
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn a_chat_answer_has_text_usage_and_headers() {
    let service = Setup::default().build();
    let answer = service.post(CHAT, &hi()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-spillway-backend"), Some("local"));
    assert_eq!(answer.header("x-spillway-route"), Some("only-candidate; route=tiny; private=route"));
    let body = answer.json();
    let id = body["id"].as_str().expect("an id");
    assert_eq!(id.strip_prefix("chatcmpl-"), answer.header("x-request-id"));
    assert_eq!(
        body,
        json!({
            "id": id, "object": "chat.completion", "created": 1_700_000_000, "model": "tiny",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "Hello 0", "refusal": null},
                "logprobs": null, "finish_reason": "stop", "stop_reason": null,
            }],
            "usage": {
                "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        })
    );
}

#[tokio::test]
async fn a_chat_stream_opens_each_choice_and_ends_with_usage_and_done() {
    let service = Setup::default().build();
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}, "n": 2});
    let answer = service.post(CHAT, &with(hi(), &fields)).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("text/event-stream")));
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> = events.iter().map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let (last, others) = chunks.split_last().expect("some chunks");
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(6)));
    let lines: Vec<String> = others
        .iter()
        .map(|chunk| {
            assert_eq!((&chunk["object"], &chunk["usage"]), (&json!("chat.completion.chunk"), &Value::Null));
            assert!(chunk.as_object().expect("an object").contains_key("usage"));
            let choice = &chunk["choices"][0];
            format!("{} {} {}", choice["index"], choice["delta"], choice["finish_reason"])
        })
        .collect();
    assert_eq!(
        lines,
        [
            r#"0 {"role":"assistant","content":""} null"#,
            r#"1 {"role":"assistant","content":""} null"#,
            r#"0 {"content":"Hello"} null"#,
            r#"1 {"content":"Hello"} null"#,
            r#"0 {"content":" 0"} null"#,
            r#"1 {"content":" 1"} null"#,
            r#"0 {} "stop""#,
            r#"1 {} "stop""#,
        ]
    );
}

#[tokio::test]
async fn a_stream_without_usage_asked_has_no_such_field() {
    let service = Setup::default().build();
    let answer = service.post(CHAT, &with(hi(), &json!({"stream": true}))).await;
    assert!(!answer.body.contains("usage"), "{}", answer.body);
    assert!(answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
}

#[tokio::test]
async fn a_completion_goes_on_from_text_and_from_tokens() {
    let service = Setup::default().build();
    for (prompt, expected) in [
        (json!("once"), Prompt::Text("once".to_owned())),
        (json!([3, 4]), Prompt::Tokens(vec![TokenId(3), TokenId(4)])),
    ] {
        let answer = service.post(COMPLETIONS, &json!({"prompt": prompt})).await;
        let body = answer.json();
        assert_eq!(
            (&body["object"], &body["choices"][0]["text"]),
            (&json!("text_completion"), &json!("Hello 0"))
        );
        assert!(body["id"].as_str().expect("an id").starts_with("cmpl-"));
        let request = service.seen().pop().expect("it was routed");
        assert_eq!((request.prompt, request.params.max_tokens.map(u32::from)), (expected, Some(16)));
    }
}

#[tokio::test]
async fn several_prompts_are_several_requests_with_choices_in_order() {
    let service = Setup::default().build();
    let answer = service.post(COMPLETIONS, &json!({"prompt": ["a", "b", "c"], "n": 2})).await;
    let body = answer.json();
    let texts: Vec<&Value> = body["choices"].as_array().expect("a list").iter().map(|c| &c["text"]).collect();
    assert_eq!(texts, ["Hello 0", "Hello 1", "Hello 0", "Hello 1", "Hello 0", "Hello 1"]);
    let indices: Vec<_> = (0..6).map(|i| body["choices"][i]["index"].as_u64().expect("a number")).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 15, "completion_tokens": 18, "total_tokens": 33,
            "prompt_tokens_details": {"cached_tokens": 12}})
    );
    let seen = service.seen();
    assert_eq!(seen.len(), 3);
    assert_ne!(seen[0].params.seed, seen[1].params.seed, "prompts without a seed are not alike");
}

#[tokio::test]
async fn several_prompts_stream_with_the_same_numbers() {
    let service = Setup::default().build();
    let answer = service.post(COMPLETIONS, &json!({"prompt": [[1], [2]], "n": 2, "stream": true})).await;
    let mut texts = vec![String::new(); 4];
    let mut num_finished = 0;
    for data in answer.events().iter().filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        let choice = &chunk["choices"][0];
        texts[choice["index"].as_u64().expect("a number") as usize]
            .push_str(choice["text"].as_str().expect("text"));
        num_finished += usize::from(choice["finish_reason"] == "stop");
    }
    assert_eq!(texts, ["Hello 0", "Hello 1", "Hello 0", "Hello 1"]);
    assert_eq!(num_finished, 4);
}

#[tokio::test]
async fn parameters_reach_the_backend() {
    let defaults = SamplingDefaults { temperature: 0.6, top_p: 0.95, ..SamplingDefaults::default() };
    let service = Setup { defaults, ..Setup::default() }.build();
    let fields = json!({
        "temperature": 0, "seed": 7, "max_completion_tokens": 9, "stop": "END", "ignore_eos": true,
        "cache_salt": "s", "priority": "low",
    });
    service.post(CHAT, &with(hi(), &fields)).await;
    service.post(CHAT, &hi()).await;
    let seen = service.seen();
    let params = &seen[0].params;
    assert_eq!((params.sampling, params.seed.0, params.ignore_eos), (Sampling::Greedy, 7, true));
    assert_eq!(
        (params.max_tokens.map(u32::from), params.stop.as_slice()),
        (Some(9), &["END".to_owned()][..])
    );
    assert_eq!(seen[0].cache_salt.as_ref().map(CacheSalt::as_bytes), Some(&b"s"[..]));
    assert_eq!(Ok(seen[1].params.sampling), Sampling::new(0.6, None, 0.95, 0.0));
    assert_eq!(seen[1].params.max_tokens, None);
}

#[tokio::test]
async fn an_answer_that_was_cut_says_length() {
    let service =
        sending(|| vec![started(), text(0, "ab"), finished(0, FinishReason::Length), done(1)]).build();
    let answer = service.post(CHAT, &hi()).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
}

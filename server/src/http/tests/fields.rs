//! Every field of the generating endpoints, rightly and wrongly used, and the shapes of what is told of tokens.

use serde_json::{Value, json};
use spillway_api::fields::{Example, OFFERED_EXAMPLES, Object, examples};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, PromptText, SpelledToken, StopMatch, TextDelta, TokenDetail,
    TokenId, TopLogprobs,
};

use super::fake::{Item, Service, Setup, done, finished, sending, started};

const ENDPOINTS: [(Object, &str); 2] =
    [(Object::Chat, "/v1/chat/completions"), (Object::Completions, "/v1/completions")];

fn body(object: Object, fragment: &str) -> Value {
    let mut body = match object {
        Object::Chat => json!({"messages": [{"role": "user", "content": "hi"}]}),
        _ => json!({"prompt": "hi"}),
    };
    let fragment: Value = serde_json::from_str(fragment).expect("an example is JSON");
    for (name, value) in fragment.as_object().expect("an example is an object") {
        body[name] = value.clone();
    }
    body
}

/// All examples, of a service whose backend can do everything.
fn all_examples(object: Object) -> impl Iterator<Item = &'static Example> {
    let offered = OFFERED_EXAMPLES.iter().filter(move |example| example.objects.contains(&object));
    examples(object).chain(offered)
}

#[tokio::test]
async fn every_field_is_served_as_its_examples_use_it() {
    let service = Setup::default().build();
    for (object, path) in ENDPOINTS {
        for example in all_examples(object) {
            for fragment in example.right {
                let answer = service.post(path, &body(object, fragment)).await;
                assert_eq!(answer.status, 200, "{path} {fragment}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn every_field_is_refused_by_name_with_value_and_limit() {
    let service = Setup::default().build();
    for (object, path) in ENDPOINTS {
        for example in all_examples(object) {
            for (fragment, part) in example.wrong {
                let answer = service.post(path, &body(object, fragment)).await;
                assert_eq!(answer.status, 400, "{path} {fragment}: {}", answer.body);
                let error = &answer.json()["error"];
                let param = error["param"].as_str().expect("the field is named");
                assert!(param.starts_with(example.name), "{path} {fragment} blames {param}");
                let message = error["message"].as_str().expect("a message");
                assert!(message.contains(part), "{path} {fragment}: {message}");
            }
        }
    }
    assert!(service.seen().is_empty());
}

fn token(id: u32, bytes: &[u8], logprob: f32, text_offset: u32) -> AnswerToken {
    let top = [(id, bytes, logprob), (99, &b"z"[..], f32::NEG_INFINITY)];
    let top = top.map(|(id, bytes, logprob)| SpelledToken {
        token: Some(TokenId(id)),
        logprob,
        bytes: bytes.to_vec(),
    });
    let detail = TokenDetail { bytes: bytes.to_vec(), text_offset, rank: 1, top: top.to_vec() };
    AnswerToken { token: Some(TokenId(id)), logprob, detail: Some(detail) }
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
fn delta(choice: u32, text: &str, token: AnswerToken) -> Item {
    Ok(GenerateEvent::Delta(TextDelta { choice, text: text.to_owned(), tokens: vec![token] }))
}

/// The prompt "ab", then "é" in two tokens, and a stop token.
fn answer() -> Vec<Item> {
    let prompt = PromptText { text: "ab".to_owned(), first: TokenId(1), first_bytes: b"a".to_vec() };
    vec![
        started(),
        Ok(GenerateEvent::Prompt { choice: 0, prompt }),
        Ok(GenerateEvent::PromptScored { choice: 0, tokens: vec![token(2, b"b", -0.25, 1)] }),
        delta(0, "", token(3, &[0xc3], -0.5, 0)),
        delta(0, "é", token(4, &[0xa9], -0.75, 0)),
        Ok(GenerateEvent::Finished {
            choice: 0,
            reason: FinishReason::Stop,
            stop: Some(StopMatch::Token(TokenId(4))),
        }),
        done(2),
    ]
}

fn telling() -> Service {
    sending(answer).build()
}

#[tokio::test]
async fn a_chat_tells_tokens_with_their_bytes_and_what_it_stopped_at() {
    let fragment = r#"{"logprobs": true, "top_logprobs": 2, "prompt_logprobs": 2}"#;
    let answer = telling().post(ENDPOINTS[0].1, &body(Object::Chat, fragment)).await.json();
    let choice = &answer["choices"][0];
    let top =
        |token: &str, logprob: f64, bytes: Value| json!({"token": token, "logprob": logprob, "bytes": bytes});
    let z = top("z", -9999.0, json!([122]));
    let mut first = top("\u{fffd}", -0.5, json!([0xc3]));
    first["top_logprobs"] = json!([first.clone(), z.clone()]);
    let mut second = top("\u{fffd}", -0.75, json!([0xa9]));
    second["top_logprobs"] = json!([second.clone(), z]);
    assert_eq!(choice["logprobs"], json!({"content": [first, second]}));
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &json!(4)));
    assert_eq!(
        answer["prompt_logprobs"],
        json!([null, {
            "2": {"logprob": -0.25, "rank": 1, "decoded_token": "b"},
            "99": {"logprob": -9999.0, "rank": 2, "decoded_token": "z"},
        }])
    );
}

#[tokio::test]
async fn an_echo_and_prompt_logprobs_tell_as_many_alternatives_as_each_asked_for() {
    for (logprobs, prompt_logprobs) in [(1, 5), (5, 1), (0, 5), (5, 0)] {
        let fragment =
            format!(r#"{{"echo": true, "logprobs": {logprobs}, "prompt_logprobs": {prompt_logprobs}}}"#);
        let service = telling();
        let answer = service.post(ENDPOINTS[1].1, &body(Object::Completions, &fragment)).await.json();
        let scored = service.seen()[0].params.prompt_logprobs.map(TopLogprobs::count);
        assert_eq!(scored, Some(5), "what is told is scored once");
        // The fake answer has two alternatives, of which the first is the token itself.
        let num_told = |asked: usize| asked.clamp(1, 2);
        let choice = &answer["choices"][0];
        for position in 1..4 {
            let top = choice["logprobs"]["top_logprobs"][position].as_object().expect("it is told");
            assert_eq!(top.len(), num_told(logprobs), "{fragment}: {choice}");
        }
        let prompt = choice["prompt_logprobs"][1].as_object().expect("it is told");
        assert_eq!(prompt.len(), num_told(prompt_logprobs), "{fragment}: {choice}");
    }
}

#[tokio::test]
async fn a_completion_echoes_its_prompt_with_offsets_in_characters() {
    let expected = json!({
        "text_offset": [0, 1, 2, 2],
        "token_logprobs": [null, -0.25, -0.5, -0.75],
        "tokens": ["a", "b", "\u{fffd}", "\u{fffd}"],
        "top_logprobs": [
            null, {"b": -0.25, "z": -9999.0}, {"\u{fffd}": -0.5, "z": -9999.0}, {"\u{fffd}": -0.75, "z": -9999.0},
        ],
    });
    let service = telling();
    let fragment = r#"{"logprobs": 2, "echo": true}"#;
    let answer = service.post(ENDPOINTS[1].1, &body(Object::Completions, fragment)).await.json();
    assert_eq!(
        (&answer["choices"][0]["text"], &answer["choices"][0]["logprobs"]),
        (&json!("abé"), &expected)
    );
    let params = &service.seen()[0].params;
    assert!(params.tell_prompt && params.prompt_logprobs.is_some(), "the prompt is scored for it");

    let fragment = r#"{"logprobs": 2, "echo": true, "stream": true}"#;
    let stream = service.post(ENDPOINTS[1].1, &body(Object::Completions, fragment)).await;
    let mut text = String::new();
    let mut logprobs = json!({});
    for data in stream.events().iter().filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        text.push_str(chunk["choices"][0]["text"].as_str().expect("text"));
        for (list, values) in chunk["choices"][0]["logprobs"].as_object().into_iter().flatten() {
            let values = values.as_array().expect("a list");
            match logprobs[list].as_array_mut() {
                Some(all) => all.extend(values.iter().cloned()),
                None => logprobs[list] = json!(values),
            }
        }
    }
    assert_eq!((text.as_str(), logprobs), ("abé", expected));
}

#[tokio::test]
async fn tokens_may_be_named_by_their_ids() {
    let fragment = r#"{"logprobs": 2, "return_tokens_as_token_ids": true}"#;
    let answer = telling().post(ENDPOINTS[1].1, &body(Object::Completions, fragment)).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["token_id:3", "token_id:4"]));
    assert_eq!(logprobs["top_logprobs"][0], json!({"token_id:3": -0.5, "token_id:99": -9999.0}));
}

#[tokio::test]
async fn a_prompt_can_be_scored_without_showing_an_answer() {
    let fragment = r#"{"logprobs": 2, "echo": true, "max_tokens": 0}"#;
    let answer = telling().post(ENDPOINTS[1].1, &body(Object::Completions, fragment)).await.json();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("ab"), &json!("length")));
    assert_eq!(choice["logprobs"]["tokens"], json!(["a", "b"]));
    assert_eq!((&answer["usage"]["completion_tokens"], &choice["stop_reason"]), (&json!(0), &Value::Null));
}

/// Three choices, of which the last has the most likely tokens and the first the least likely ones.
#[tokio::test]
async fn the_best_choices_are_those_of_the_highest_logprob_per_token() {
    let service = sending(|| {
        let choice = |choice, logprob| delta(choice, &choice.to_string(), token(1, b"x", logprob, 0));
        let mut events = vec![started(), choice(0, -0.9), choice(1, -0.2), choice(1, -1.0), choice(2, -0.1)];
        events.extend((0..3).map(|choice| finished(choice, FinishReason::Stop)));
        events.push(done(4));
        events
    })
    .build();
    let fragment = r#"{"best_of": 3, "n": 2}"#;
    let answer = service.post(ENDPOINTS[1].1, &body(Object::Completions, fragment)).await.json();
    let choices: Vec<_> = (0..2)
        .map(|i| (answer["choices"][i]["index"].clone(), answer["choices"][i]["text"].clone()))
        .collect();
    assert_eq!(choices, [(json!(0), json!("2")), (json!(1), json!("11"))]);
    assert_eq!(answer["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(service.seen()[0].params.n.get(), 3);
}

#[tokio::test]
async fn an_echoing_chat_begins_with_the_assistants_last_message() {
    let service = Setup::default().build();
    let mut chat =
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So: "}]});
    chat["echo"] = json!(true);
    chat["continue_final_message"] = json!(true);
    let answer = service.post(ENDPOINTS[0].1, &chat).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "So: Hello 0");
    chat["stream"] = json!(true);
    let stream = service.post(ENDPOINTS[0].1, &chat).await;
    assert!(stream.events()[1].contains(r#""content":"So: ""#), "{}", stream.body);
}

#[tokio::test]
async fn tools_that_were_called_and_their_answers_reach_the_template() {
    let service = Setup::default().build();
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}});
    let chat = json!({"messages": [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]});
    assert_eq!(service.post(ENDPOINTS[0].1, &chat).await.status, 200);
    let prompt = service.seen()[0].prompt.clone();
    let spillway_types::Prompt::Chat(prompt) = prompt else { panic!("{prompt:?}") };
    let calls = prompt.messages[1].tool_calls.as_ref().expect("it called").as_str();
    let calls: Value = serde_json::from_str(calls).expect("JSON");
    assert_eq!(calls[0]["function"]["arguments"], json!({"a": 1}));
    assert_eq!(prompt.messages[2].tool_call_id.as_deref(), Some("c1"));
    let mut broken = chat;
    broken["messages"][1]["tool_calls"][0]["function"]["arguments"] = json!("{");
    let answer = service.post(ENDPOINTS[0].1, &broken).await;
    assert_eq!(answer.json()["error"]["param"], "messages[1].tool_calls[0].function.arguments");
}

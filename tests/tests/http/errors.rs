//! Every error: its status, OpenAI's shape, the field at fault, and a message that says what to do.

use reqwest::Method;
use serde_json::{Value, json};
use spillway_tests::{ModelVariant, Reply, Server};

use super::requests::{CHAT, COMPLETIONS, greedy, tiny_server, with};

/// What an error answer must say.
struct Expected<'a> {
    status: u16,
    code: &'a str,
    param: Option<&'a str>,
    /// Each is part of the message.
    says: &'a [&'a str],
}

fn check(what: &str, reply: &Reply, expected: &Expected) {
    assert_eq!(reply.status, expected.status, "{what}: {}", reply.text);
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
    let body = reply.json();
    let error = &body["error"];
    let fields: Vec<&str> = error.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{what}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{what}: {body}");
    assert_eq!(error["type"], "invalid_request_error", "{what}");
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!(expected.code), &json!(expected.param)),
        "{what}: {error}"
    );
    let message = error["message"].as_str().expect("a text");
    for part in expected.says {
        assert!(message.contains(part), "{what}: `{part}` is not in `{message}`");
    }
}

fn bad<'a>(code: &'a str, param: impl Into<Option<&'a str>>, says: &'a [&'a str]) -> Expected<'a> {
    Expected { status: 400, code, param: param.into(), says }
}

fn chat(fields: Value) -> Value {
    with(json!({"messages": [{"role": "user", "content": "a"}]}), fields)
}

fn completion(fields: Value) -> Value {
    with(json!({"prompt": "a"}), fields)
}

async fn post_raw(
    server: &Server,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> Reply {
    let mut request = server.client().request(Method::POST, path).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Reply::read(request).await.expect("an answer")
}

#[tokio::test]
async fn a_value_outside_its_range_is_refused_with_value_and_limit() {
    let server = tiny_server(&[]).await;
    let both = [
        ("temperature", json!(2.5), ["2.5", "2"]),
        ("temperature", json!(-0.1), ["-0.1", "0"]),
        ("top_p", json!(0), ["0", "1"]),
        ("top_p", json!(1.1), ["1.1", "1"]),
        ("min_p", json!(-0.5), ["-0.5", "1"]),
        ("top_k", json!(-2), ["-2", "-1"]),
        ("n", json!(0), ["0", "128"]),
        ("n", json!(129), ["129", "128"]),
        ("max_tokens", json!(0), ["0", "1"]),
        ("stop", json!(vec!["x"; 17]), ["17", "16"]),
        ("stop", json!([""]), ["0", "1024"]),
        ("stop", json!("x".repeat(1025)), ["1025", "1024"]),
        ("cache_salt", json!(""), ["0", "256"]),
        ("stream_options", json!({"include_usage": true}), ["stream", "true"]),
    ];
    for (param, value, says) in both {
        let what = format!("{param} {value}");
        for (path, request) in [(CHAT, chat(json!({}))), (COMPLETIONS, completion(json!({})))] {
            let reply = server.post(path, &with(request, json!({param: value}))).await;
            check(&what, &reply, &bad("invalid_value", param, &says));
        }
    }
    let empty = server.post(CHAT, &json!({"messages": []})).await;
    check("no messages", &empty, &bad("invalid_value", "messages", &["0", "2048"]));
    for prompt in [json!([]), json!(vec!["a"; 129])] {
        let reply = server.post(COMPLETIONS, &json!({"prompt": prompt})).await;
        check("number of prompts", &reply, &bad("invalid_value", "prompt", &["128"]));
    }
    let many = server.post(COMPLETIONS, &json!({"prompt": vec!["a"; 64], "n": 17})).await;
    check("choices in all", &many, &bad("invalid_value", "n", &["1088", "1024"]));
    let twice = server.post(CHAT, &chat(json!({"max_tokens": 3, "max_completion_tokens": 4}))).await;
    check("two limits", &twice, &bad("invalid_value", "max_tokens", &["3", "4"]));
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_by_name() {
    let server = tiny_server(&[]).await;
    let wrong = [
        ("temperature", json!("hot")),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("max_tokens", json!(4_294_967_296_u64)),
        ("seed", json!("lucky")),
        ("stream", json!("yes")),
        ("n", json!([1])),
        ("stop", json!(7)),
        ("model", json!(7)),
        ("priority", json!([1])),
    ];
    for (param, value) in wrong {
        let what = format!("{param} {value}");
        for (path, request) in [(CHAT, chat(json!({}))), (COMPLETIONS, completion(json!({})))] {
            let reply = server.post(path, &with(request, json!({param: value}))).await;
            check(&what, &reply, &bad("invalid_type", param, &[param]));
        }
    }
    for prompt in [json!(7), json!({"text": "a"}), json!([["a"]]), json!([-1]), json!([1, "a"]), json!(null)]
    {
        let reply = server.post(COMPLETIONS, &json!({"prompt": prompt})).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["param"]),
            (400, &json!("prompt")),
            "{prompt}: {}",
            reply.text
        );
    }
    let message = server.post(CHAT, &json!({"messages": [{"role": "wizard", "content": "a"}]})).await;
    check("role", &message, &bad("invalid_type", "messages[0].role", &["wizard"]));
}

#[tokio::test]
async fn a_field_that_is_not_honoured_is_refused_by_name() {
    let server = tiny_server(&[]).await;
    for param in ["temprature", "max_token", "Prompt"] {
        for (path, request) in [(CHAT, chat(json!({}))), (COMPLETIONS, completion(json!({})))] {
            let reply = server.post(path, &with(request, json!({param: 1}))).await;
            check(param, &reply, &bad("unknown_parameter", param, &[param]));
        }
    }
    for (path, request) in [(CHAT, chat(json!({}))), (COMPLETIONS, completion(json!({})))] {
        let format = json!({"response_format": {"type": "json_object"}});
        let reply = server.post(path, &with(request, format)).await;
        let says = ["response_format", "leave it out"];
        check("response_format", &reply, &bad("unsupported_parameter", "response_format", &says));
    }
    for (param, value) in [
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("reasoning_effort", json!("high")),
        ("modalities", json!(["audio"])),
    ] {
        let reply = server.post(CHAT, &chat(json!({param: value}))).await;
        check(param, &reply, &bad("unsupported_parameter", param, &[param]));
    }
    // What only says the default asks for nothing.
    let defaults = json!({"frequency_penalty": 0, "logit_bias": {}, "tools": [], "response_format": {"type": "text"},
                          "user": null, "max_tokens": 1});
    assert_eq!(server.post(CHAT, &chat(defaults)).await.status, 200);

    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]});
    let reply = server.post(CHAT, &image).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.text.contains("image_url") && reply.text.contains("messages[0].content[0]"),
        "{}",
        reply.text
    );
    let named = json!({"messages": [{"role": "user", "content": "a", "mood": "sad"}]});
    check(
        "in a message",
        &server.post(CHAT, &named).await,
        &bad("unknown_parameter", "messages[0].mood", &["mood"]),
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let server = tiny_server(&["--max-body", "64KiB"]).await;
    let json = Some("application/json");
    for (path, required) in
        [(CHAT, "messages"), (COMPLETIONS, "prompt"), ("/detokenize", "tokens"), ("/tokenize", "prompt")]
    {
        for body in ["", "{", "{\"prompt\": \"a\"", "nonsense", "{\"a\": \"\\ud800\"}", "{} {}"] {
            let reply = post_raw(&server, path, json, body).await;
            check(&format!("{path} {body}"), &reply, &bad("invalid_json", None, &["JSON"]));
        }
        let reply = post_raw(&server, path, json, b"{\"prompt\": \"\xff\"}".to_vec()).await;
        check("not UTF-8", &reply, &bad("invalid_json", None, &["JSON"]));
        let deep = format!("{{\"prompt\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
        check("deep", &post_raw(&server, path, json, deep).await, &bad("invalid_json", None, &["recursion"]));
        for body in ["[]", "7", "\"text\"", "null"] {
            check(body, &post_raw(&server, path, json, body).await, &bad("invalid_json", None, &["object"]));
        }
        let missing = post_raw(&server, path, json, "{}").await;
        check("{}", &missing, &bad("missing_required_parameter", required, &[required]));
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            let reply = post_raw(&server, path, content_type, "{}").await;
            let expected = Expected {
                status: 415,
                code: "unsupported_media_type",
                param: None,
                says: &["application/json"],
            };
            check(path, &reply, &expected);
        }
    }
    let with_charset =
        post_raw(&server, COMPLETIONS, Some("application/json; charset=utf-8"), r#"{"prompt":"a"}"#);
    assert_eq!(with_charset.await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = tiny_server(&["--max-body", "64KiB"]).await;
    for num_bytes in [64 * 1024, 1 << 20, 8 << 20] {
        let reply = server.post(COMPLETIONS, &json!({"prompt": "a".repeat(num_bytes)})).await;
        let says = &["64KiB", "--max-body"];
        check("body", &reply, &Expected { status: 413, code: "body_too_large", param: None, says });
    }
    let fits = server.post(COMPLETIONS, &json!({"prompt": "a".repeat(60 * 1024)})).await;
    assert_eq!(fits.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn an_unknown_model_path_or_method_is_refused() {
    let server = tiny_server(&[]).await;
    let no_model = Expected { status: 404, code: "model_not_found", param: Some("model"), says: &["gpt-17"] };
    for (path, request) in [
        (CHAT, chat(json!({"model": "gpt-17"}))),
        (COMPLETIONS, completion(json!({"model": "gpt-17"}))),
        ("/tokenize", completion(json!({"model": "gpt-17"}))),
        ("/detokenize", json!({"tokens": [], "model": "gpt-17"})),
    ] {
        check(path, &server.post(path, &request).await, &no_model);
    }
    check("models", &server.get("/v1/models/gpt-17").await, &no_model);

    for path in ["/", "/v1", "/v1/chat", "/v1/completion", "/nowhere"] {
        let expected = Expected { status: 404, code: "unknown_url", param: None, says: &[path] };
        check(path, &server.get(path).await, &expected);
        check(path, &server.post(path, &json!({})).await, &expected);
    }
    for (method, path) in [
        (Method::GET, CHAT),
        (Method::GET, COMPLETIONS),
        (Method::DELETE, "/v1/models"),
        (Method::POST, "/health"),
        (Method::PUT, "/tokenize"),
        (Method::POST, "/metrics"),
    ] {
        let reply = Reply::read(server.client().request(method.clone(), path)).await.expect("an answer");
        let says = &[method.as_str(), path];
        check(path, &reply, &Expected { status: 405, code: "method_not_allowed", param: None, says });
        assert!(reply.header("allow").is_some(), "{method} {path} must name what is allowed");
    }
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let server = tiny_server(&["--max-model-len", "100"]).await;
    let ids = |count: usize| json!({"prompt": vec![100; count], "max_tokens": 1});
    assert_eq!(server.post(COMPLETIONS, &ids(99)).await.status, 200);
    for count in [100, 101, 5000] {
        let number = count.to_string();
        let reply = server.post(COMPLETIONS, &ids(count)).await;
        check(&number, &reply, &bad("context_length_exceeded", None, &[&number, "99"]));
    }
    let text = json!({"prompt": "river ".repeat(200)});
    let conversation = json!({"messages": [{"role": "user", "content": "river ".repeat(200)}]});
    for (path, request) in [(COMPLETIONS, text), (CHAT, conversation)] {
        let counted = server.post("/tokenize", &request).await.json()["count"].as_u64().expect("a count");
        let number = counted.to_string();
        for more in [json!({}), json!({"max_tokens": 1}), json!({"max_tokens": 500}), json!({"stream": true})]
        {
            let reply = server.post(path, &with(request.clone(), more)).await;
            check(path, &reply, &bad("context_length_exceeded", None, &[&number, "99"]));
        }
    }
    let chat = json!({"messages": [{"role": "user", "content": "river"}], "max_tokens": 99});
    let counted =
        server.post("/tokenize", &json!({"messages": chat["messages"]})).await.json()["count"].to_string();
    let output = server.post(CHAT, &chat).await;
    check("output of a chat", &output, &bad("invalid_value", "max_tokens", &[&counted, "99", "100"]));
    let output = server.post(COMPLETIONS, &json!({"prompt": [100, 101], "max_tokens": 99})).await;
    check("output", &output, &bad("invalid_value", "max_tokens", &["2 tokens", "99", "100"]));
    let stream = with(ids(100), json!({"stream": true}));
    let refused = server.post(COMPLETIONS, &stream).await;
    check("as a stream", &refused, &bad("context_length_exceeded", None, &["100", "99"]));
}

#[tokio::test]
async fn a_token_that_does_not_exist_is_refused() {
    let server = tiny_server(&[]).await;
    for (path, request) in [
        (COMPLETIONS, json!({"prompt": [5, 512]})),
        (COMPLETIONS, json!({"prompt": [[5], [512]]})),
        ("/detokenize", json!({"tokens": [512]})),
    ] {
        check(path, &server.post(path, &request).await, &bad("invalid_value", None, &["512"]));
    }
    for prompt in [json!(""), json!(["a", ""]), json!([[5], []])] {
        let reply = server.post(COMPLETIONS, &json!({"prompt": prompt})).await;
        check("empty prompt", &reply, &bad("invalid_value", None, &["no tokens"]));
    }
    let both = server
        .post("/tokenize", &json!({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}))
        .await;
    check("both", &both, &bad("invalid_value", "prompt", &["messages"]));
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

#[tokio::test]
async fn a_model_without_chat_template_takes_no_conversations() {
    let model = ModelVariant::without_template();
    let server = Server::start(model.path(), &["--served-model-name", "base"]).await;
    let reply = server.post(CHAT, &chat(json!({}))).await;
    check("chat", &reply, &bad("no_chat_template", "messages", &["/v1/completions"]));
    let rendered = server.post("/tokenize", &chat(json!({}))).await;
    assert_eq!(
        (rendered.status, &rendered.json()["error"]["param"]),
        (400, &json!("messages")),
        "{}",
        rendered.text
    );
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 2)).await.status, 200);
}

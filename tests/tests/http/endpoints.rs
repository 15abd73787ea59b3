//! Every endpoint that generates nothing, and the headers of every answer.

use serde_json::json;
use spillway_tests::Reply;

use super::requests::{CHAT, COMPLETIONS, LONG_PROMPT, greedy, tiny_server};

#[tokio::test]
async fn health_and_version_answer() {
    let server = tiny_server(&[]).await;
    for path in ["/health", "/health/live"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.json()), (200, json!({"status": "ok"})), "{path}");
    }
    let version = server.get("/version").await;
    assert_eq!((version.status, version.json()), (200, json!({"version": env!("CARGO_PKG_VERSION")})));
}

#[tokio::test]
async fn models_are_listed_under_their_served_name() {
    let server = tiny_server(&["--served-model-name", "org/tiny"]).await;
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!((&model["id"], &model["object"]), (&json!("org/tiny"), &json!("model")));
    assert_eq!(model["max_model_len"], 512);
    assert!(model["created"].as_u64().is_some_and(|created| created > 1_700_000_000), "{model}");
    assert_eq!(server.get("/v1/models/org/tiny").await.json(), *model);
    let answer =
        server.post(COMPLETIONS, &json!({"model": "org/tiny", "prompt": "a", "max_tokens": 1})).await;
    assert_eq!((answer.status, answer.json()["model"].clone()), (200, json!("org/tiny")));
}

#[tokio::test]
async fn tokens_are_those_that_a_prompt_costs() {
    let server = tiny_server(&[]).await;
    let text = "The river, caf\u{e9} \u{6c34}";
    let tokens = server.post("/tokenize", &json!({"prompt": text})).await.json();
    let ids = tokens["tokens"].as_array().expect("a list").clone();
    assert_eq!(
        (tokens["count"].as_u64(), tokens["max_model_len"].as_u64()),
        (Some(ids.len() as u64), Some(512))
    );
    let back = server.post("/detokenize", &json!({"tokens": ids})).await.json();
    assert_eq!(back, json!({"prompt": text}));
    let completion = server.post(COMPLETIONS, &greedy(text, 1)).await;
    assert_eq!(completion.usage("/prompt_tokens"), ids.len() as u64);

    let messages = json!([{"role": "user", "content": "The stone?"}]);
    let rendered = server.post("/tokenize", &json!({"messages": messages})).await.json();
    let text = server.post("/detokenize", &json!({"tokens": rendered["tokens"]})).await.json();
    assert_eq!(text["prompt"], "<|im_start|>user\nThe stone?<|im_end|>\n<|im_start|>assistant\n");
    let chat = server.post(CHAT, &json!({"messages": messages, "max_tokens": 1})).await;
    assert_eq!(Some(chat.usage("/prompt_tokens")), rendered["count"].as_u64());
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = tiny_server(&[]).await;
    let named =
        |path: &str| server.client().request(reqwest::Method::GET, path).header("x-request-id", "order-66");
    for path in ["/health", "/nowhere", "/v1/models"] {
        let reply = Reply::read(named(path)).await.expect("an answer");
        assert_eq!(reply.header("x-request-id"), Some("order-66"), "{path}");
    }
    let (first, second) = (server.get("/health").await, server.get("/health").await);
    let made = first.header("x-request-id").expect("a name is made");
    assert!(!made.is_empty());
    assert_ne!(second.header("x-request-id"), Some(made));
    // A name that could break logs or headers is not taken over.
    let unfit = "x".repeat(200);
    let request = server.client().request(reqwest::Method::GET, "/health").header("x-request-id", &unfit);
    assert_ne!(Reply::read(request).await.expect("an answer").header("x-request-id"), Some(unfit.as_str()));
}

#[tokio::test]
async fn an_answer_says_who_made_it_and_why() {
    let server = tiny_server(&[]).await;
    let request =
        server.client().request(reqwest::Method::POST, COMPLETIONS).header("x-request-id", "order-7");
    let reply = Reply::read(request.json(&greedy("a", 1))).await.expect("an answer");
    assert_eq!(reply.header("x-spillway-backend"), Some("local"));
    assert!(reply.header("x-spillway-route").is_some_and(|reason| !reason.is_empty()));
    assert_eq!(reply.json()["id"], "cmpl-order-7");
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_read() {
    let server = tiny_server(&[]).await;
    let prompt = LONG_PROMPT;
    for _ in 0..2 {
        assert_eq!(server.post(COMPLETIONS, &greedy(prompt, 5)).await.status, 200);
    }
    // Answers are on their way before their ends are counted; the load is published last.
    server.until_metric("vllm:request_success_total", "finished_reason=\"length\"", 2.0).await;
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
    server.until_metric("spillway_http_requests_total", "path=\"/v1/completions\"", 2.0).await;
    let metrics = server.metrics().await;
    let kinds = [
        ("vllm:num_requests_running", "gauge"),
        ("vllm:num_requests_waiting", "gauge"),
        ("vllm:kv_cache_usage_perc", "gauge"),
        ("vllm:cache_config_info", "gauge"),
        ("vllm:prefix_cache_queries_total", "counter"),
        ("vllm:prefix_cache_hits_total", "counter"),
        ("vllm:num_preemptions_total", "counter"),
        ("vllm:prompt_tokens_total", "counter"),
        ("vllm:generation_tokens_total", "counter"),
        ("vllm:request_success_total", "counter"),
        ("vllm:time_to_first_token_seconds", "histogram"),
        ("vllm:inter_token_latency_seconds", "histogram"),
        ("vllm:e2e_request_latency_seconds", "histogram"),
        ("spillway_http_requests_total", "counter"),
        ("spillway_http_requests_in_flight", "gauge"),
    ];
    for (name, kind) in kinds {
        assert_eq!(metrics.kind(name), Some(kind), "{name} in\n{}", metrics.text());
    }
    let prompt_tokens = server.post("/tokenize", &json!({"prompt": prompt})).await.json()["count"].as_f64();
    let cached = prompt_tokens.map(|tokens| ((tokens - 1.0) / 16.0).floor() * 16.0);
    assert!(cached > Some(0.0));
    let values = [
        ("vllm:prompt_tokens_total", "model_name=\"tied\"", prompt_tokens.map(|tokens| 2.0 * tokens)),
        ("vllm:prefix_cache_hits_total", "model_name=\"tied\"", cached),
        ("vllm:generation_tokens_total", "model_name=\"tied\"", Some(10.0)),
        ("vllm:request_success_total", "finished_reason=\"length\"", Some(2.0)),
        ("vllm:request_success_total", "finished_reason=\"abort\"", Some(0.0)),
        ("vllm:time_to_first_token_seconds_count", "", Some(2.0)),
        ("vllm:inter_token_latency_seconds_count", "", Some(8.0)),
        ("vllm:e2e_request_latency_seconds_count", "", Some(2.0)),
        ("vllm:cache_config_info", "block_size=\"16\"", Some(1.0)),
        ("vllm:cache_config_info", "cache_dtype=\"f32\"", Some(1.0)),
        ("vllm:kv_cache_usage_perc", "", Some(0.0)),
        ("spillway_http_requests_total", "path=\"/v1/completions\",status=\"200\"", Some(2.0)),
        // This request itself.
        ("spillway_http_requests_in_flight", "", Some(1.0)),
    ];
    for (name, label, value) in values {
        assert_eq!(metrics.value(name, label), value, "{name}{{{label}}} in\n{}", metrics.text());
    }
}

//! The endpoints that generate nothing, and the names of requests.

use axum::body::Body;
use axum::http::Request;
use futures::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use serde_json::json;

use super::fake::{Setup, Then, post, sending, started, text};

#[tokio::test]
async fn models_are_listed_and_found_by_each_of_their_names() {
    let service = Setup::default().build();
    let card = |name: &str| {
        json!({
            "id": name, "object": "model", "created": 1_600_000_000, "owned_by": "spillway", "root": "tiny",
            "max_model_len": 2048,
        })
    };
    let names = ["tiny", "small", "org/tiny"];
    assert_eq!(
        service.get("/v1/models").await.json(),
        json!({"object": "list", "data": names.map(card).to_vec()})
    );
    for name in names {
        assert_eq!(service.get(&format!("/v1/models/{name}")).await.json(), card(name));
        let request = json!({"model": name, "prompt": "hi"});
        assert_eq!(service.post("/v1/completions", &request).await.json()["model"], "tiny");
    }
}

#[tokio::test]
async fn tokenizes_text_and_conversations_and_back() {
    let service = Setup::default().build();
    let expected = json!({"count": 2, "max_model_len": 2048, "tokens": [104, 105]});
    let text = json!({"model": "tiny", "prompt": "hi", "add_special_tokens": true});
    assert_eq!(service.post("/tokenize", &text).await.json(), expected);
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(service.post("/tokenize", &chat).await.json(), expected);
    let tokens = json!({"tokens": [104, 105]});
    assert_eq!(service.post("/detokenize", &tokens).await.json(), json!({"prompt": "hi"}));
}

#[tokio::test]
async fn tokenizing_refuses_both_neither_and_unknown_ids() {
    let service = Setup::default().build();
    let both = json!({"prompt": "hi", "messages": [{"role": "user", "content": "hi"}]});
    let picture = json!([{"type": "image_url", "image_url": {"url": "data:;base64,/9j/4A=="}}]);
    for (path, body) in [
        ("/tokenize", both),
        ("/tokenize", json!({"messages": [{"role": "user", "content": picture}]})),
        ("/tokenize", json!({})),
        ("/tokenize", json!({"prompt": "hi", "add_special_tokens": false})),
        ("/detokenize", json!({"tokens": [256]})),
    ] {
        let answer = service.post(path, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"]["param"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn version_is_that_of_the_package() {
    let service = Setup::default().build();
    assert_eq!(service.get("/version").await.json(), json!({"version": env!("CARGO_PKG_VERSION")}));
}

#[tokio::test]
async fn a_whole_answer_has_a_known_length() {
    let service = Setup::default().build();
    let request = Request::get("/version").body(Body::empty()).expect("a request");
    let body = service.send(request).await.into_body();
    assert_eq!(axum::body::HttpBody::size_hint(&body).exact(), Some(19));
}

#[tokio::test]
async fn browsers_questions_are_answered_only_if_some_origin_may_ask() {
    let origins = vec!["https://chat.example.com".to_owned()];
    for (allowed_origins, path, status) in [
        (Vec::new(), "/made/up", 404),
        (Vec::new(), "/v1/models", 405),
        (Vec::new(), "/health", 405),
        (origins, "/v1/models", 200),
    ] {
        let service = Setup { allowed_origins, ..Setup::default() }.build();
        let answer = service.read(Request::options(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_text() {
    let answer = Setup::default().build().get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

/// Runs on one thread, so that a recorder of its own sees what the service records.
#[tokio::test]
async fn requests_are_counted_by_endpoint_and_status_when_they_end() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let service = Setup { then: Then::Hang, ..sending(|| vec![started(), text(0, "a")]) }.build();
    service.get("/v1/models/tiny").await;
    service.get("/made/up").await;
    let open = service.send(post("/v1/completions", &json!({"prompt": "a", "stream": true}))).await;
    let mut waiting = Box::pin(service.read(post("/v1/completions", &json!({"prompt": "a"}))));
    assert!(waiting.as_mut().now_or_never().is_none(), "the backend hangs");
    check_lines(&recorder, &["spillway_http_requests_in_flight 2"]);
    drop((waiting, open));
    check_lines(
        &recorder,
        &[
            "spillway_http_requests_in_flight 0",
            r#"spillway_http_requests_total{path="/v1/models/{*id}",status="200"} 1"#,
            r#"spillway_http_requests_total{path="unmatched",status="404"} 1"#,
            r#"spillway_http_requests_total{path="/v1/completions",status="200"} 1"#,
            r#"spillway_http_requests_total{path="/v1/completions",status="499"} 1"#,
        ],
    );
}

fn check_lines(recorder: &PrometheusRecorder, expected: &[&str]) {
    let text = recorder.handle().render();
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_clients_request_id_is_echoed_if_it_is_fit_and_one_is_made_otherwise() {
    let service = Setup::default().build();
    let long = "x".repeat(129);
    for (given, is_echoed) in [("abc-1", true), ("two words", false), (long.as_str(), false)] {
        let request = Request::get("/health").header("x-request-id", given).body(Body::empty());
        let answer = service.read(request.expect("a request")).await;
        let id = answer.header("x-request-id").expect("every answer has one");
        assert_eq!(id == given, is_echoed, "{given}");
    }
    let answer = service.get("/nowhere").await;
    assert!(answer.header("x-request-id").is_some());
}

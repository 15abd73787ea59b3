//! Answers that are errors: status, shape, code, and the field at fault.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use spillway_router::{BackendError, BackendHealth, BackendId, Feature};
use spillway_types::{FinishReason, ModelId};

use super::fake::{Answer, Setup, all_but, done, finished, limits, refusing, sending, started, text};
use crate::config::ByteSize;
use crate::http::HttpLimits;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

fn failed(tokens_sent: u32) -> BackendError {
    BackendError::Failed { backend: BackendId::new("local"), tokens_sent, source: "a step broke".into() }
}

/// Checks status, type, code and param, and gives the message.
fn check(answer: &Answer, status: u16, kind: &str, code: &str, param: Option<&str>) -> String {
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(answer.status.as_u16(), status, "{body}");
    assert_eq!(
        (&error["type"], &error["code"], &error["param"]),
        (&json!(kind), &json!(code), &json!(param))
    );
    assert_eq!(error.as_object().map(serde_json::Map::len), Some(4));
    error["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn bad_fields_are_400_and_named() {
    let service = Setup::default().build();
    for (field, value, code) in [
        ("temprature", json!(1), "unknown_parameter"),
        ("prediction", json!({}), "unsupported_parameter"),
        ("functions", json!([{}]), "unsupported_parameter"),
        ("temperature", json!("hot"), "invalid_type"),
        ("temperature", json!(3), "invalid_value"),
        ("top_p", json!(0), "invalid_value"),
        ("n", json!(0), "invalid_value"),
        ("max_tokens", json!(0), "invalid_value"),
        ("messages", json!([]), "invalid_value"),
        ("messages", Value::Null, "missing_required_parameter"),
    ] {
        let mut body = hi();
        body[field] = value;
        check(&service.post(CHAT, &body).await, 400, "invalid_request_error", code, Some(field));
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn an_unknown_model_is_404() {
    let service = Setup::default().build();
    let body = json!({"model": "gpt-9", "prompt": "hi"});
    let message = check(
        &service.post(COMPLETIONS, &body).await,
        404,
        "invalid_request_error",
        "model_not_found",
        Some("model"),
    );
    assert_eq!(message, "the model `gpt-9` does not exist: served are `tiny`, `small`, `org/tiny`");
    let answer = service.get("/v1/models/gpt-9").await;
    check(&answer, 404, "invalid_request_error", "model_not_found", Some("model"));
}

#[tokio::test]
async fn broken_json_is_400_with_its_position() {
    let service = Setup::default().build();
    let request =
        Request::post(CHAT).header("content-type", "application/json").body(Body::from("{\"a\": }"));
    let answer = service.read(request.expect("a request")).await;
    let message = check(&answer, 400, "invalid_request_error", "invalid_json", None);
    assert!(message.ends_with("line 1 column 7"), "{message}");
}

#[tokio::test]
async fn another_content_type_is_415() {
    let service = Setup::default().build();
    let request = Request::post(CHAT).header("content-type", "text/plain").body(Body::from("{}"));
    let answer = service.read(request.expect("a request")).await;
    check(&answer, 415, "invalid_request_error", "unsupported_media_type", None);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_the_limit() {
    let limits = HttpLimits { max_body: "1KiB".parse::<ByteSize>().expect("a size"), ..limits() };
    let service = Setup { limits, ..Setup::default() }.build();
    let body = json!({"prompt": "x".repeat(1024)});
    let message =
        check(&service.post(COMPLETIONS, &body).await, 413, "invalid_request_error", "body_too_large", None);
    assert_eq!(message, "body is larger than 1KiB: send less, or raise --max-body");
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_same_shape() {
    let service = Setup::default().build();
    check(&service.get("/v2/models").await, 404, "invalid_request_error", "unknown_url", None);
    let answer = service.get(CHAT).await;
    check(&answer, 405, "invalid_request_error", "method_not_allowed", None);
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn a_full_queue_is_429_with_retry_after() {
    let service = refusing(|| BackendError::QueueFull {
        backend: BackendId::new("local"),
        max_waiting: 1024,
        retry_after: Duration::from_millis(2500),
    })
    .build();
    let answer = service.post(CHAT, &hi()).await;
    check(&answer, 429, "rate_limit_error", "queue_full", None);
    assert_eq!(answer.header("retry-after"), Some("3"));
}

#[tokio::test]
async fn a_prompt_over_the_context_is_400_with_both_numbers() {
    let service = refusing(|| BackendError::PromptTooLong {
        model: ModelId::new("tiny"),
        prompt_tokens: 9000,
        max_tokens: 8192,
    })
    .build();
    let answer = service.post(CHAT, &hi()).await;
    let message = check(&answer, 400, "invalid_request_error", "context_length_exceeded", None);
    assert!(message.contains("9000") && message.contains("8192"), "{message}");
}

#[tokio::test]
async fn what_the_backend_refuses_as_invalid_names_its_field() {
    let service = refusing(|| BackendError::InvalidRequest {
        param: Some("prompt"),
        message: "prompt has no tokens".to_owned(),
    })
    .build();
    let answer = service.post(COMPLETIONS, &json!({"prompt": ""})).await;
    check(&answer, 400, "invalid_request_error", "invalid_value", Some("prompt"));
}

#[tokio::test]
async fn a_backend_that_fails_before_the_first_token_is_500() {
    for service in [refusing(|| failed(0)).build(), sending(|| vec![started(), Err(failed(0))]).build()] {
        let answer = service.post(CHAT, &hi()).await;
        check(&answer, 500, "server_error", "backend_failed", None);
        assert!(!answer.body.contains("a step broke"), "the cause is for the log");
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_it_starts_has_the_errors_status() {
    let service = sending(|| vec![Err(failed(0))]).build();
    let mut body = hi();
    body["stream"] = json!(true);
    check(&service.post(CHAT, &body).await, 500, "server_error", "backend_failed", None);
}

#[tokio::test]
async fn a_stream_that_fails_midway_ends_with_one_error_event_and_done() {
    let service = sending(|| vec![started(), text(0, "a"), Err(failed(1)), text(0, "b")]).build();
    let mut body = hi();
    body["stream"] = json!(true);
    let answer = service.post(CHAT, &body).await;
    assert_eq!(answer.status, 200);
    let events = answer.events();
    let [_, text, error, last] = events.as_slice() else { panic!("{events:?}") };
    assert!(text.contains("\"content\":\"a\""));
    let error: Value = serde_json::from_str(error).expect("JSON");
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("server_error"), &json!("backend_failed"))
    );
    assert_eq!(last, "[DONE]");
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test]
async fn answers_that_end_badly_are_errors_and_never_whole() {
    let service = sending(|| vec![started(), text(0, "a")]).build();
    check(&service.post(CHAT, &hi()).await, 500, "server_error", "internal_error", None);
    let service = sending(|| vec![started(), done(0)]).build();
    check(&service.post(CHAT, &hi()).await, 500, "server_error", "internal_error", None);
    let service = sending(|| vec![started(), finished(0, FinishReason::Failed), done(0)]).build();
    check(&service.post(CHAT, &hi()).await, 500, "server_error", "internal_error", None);
    let service = sending(|| vec![started(), finished(0, FinishReason::Aborted), done(0)]).build();
    check(&service.post(CHAT, &hi()).await, 503, "server_error", "shutting_down", None);
}

#[tokio::test]
async fn chat_on_a_model_without_template_is_a_clear_400() {
    let service = Setup { capabilities: all_but(&[Feature::Chat]), ..Setup::default() }.build();
    let answer = service.post(CHAT, &hi()).await;
    let message = check(&answer, 400, "invalid_request_error", "no_chat_template", Some("messages"));
    assert!(message.contains("send a text prompt to /v1/completions instead ("), "{message}");
    assert_eq!(service.post(COMPLETIONS, &json!({"prompt": "hi"})).await.status, 200);
}

#[tokio::test]
async fn a_stopped_backend_is_503_and_not_healthy() {
    let health = BackendHealth::Stopped { reason: "its thread has ended".into() };
    let service = Setup { health, ..Setup::default() }.build();
    check(&service.post(CHAT, &hi()).await, 503, "server_error", "not_ready", None);
    let message = check(&service.get("/health").await, 503, "server_error", "not_ready", None);
    assert_eq!(message, "backend `local` has stopped: its thread has ended");
    assert_eq!(service.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn an_overdue_step_is_not_healthy_but_still_takes_requests() {
    let health = BackendHealth::Overdue { since: Duration::from_secs(3) };
    let service = Setup { health, ..Setup::default() }.build();
    check(&service.get("/health").await, 503, "server_error", "not_ready", None);
    assert_eq!(service.post(CHAT, &hi()).await.status, 200);
}

#[tokio::test]
async fn a_closing_server_is_503_with_retry_after() {
    let service = Setup::default().build();
    assert_eq!(service.get("/health").await.status, 200);
    service.lifecycle.start_draining();
    let answer = service.post(CHAT, &hi()).await;
    check(&answer, 503, "server_error", "shutting_down", None);
    assert_eq!(answer.header("retry-after"), Some("5"));
    check(&service.get("/health").await, 503, "server_error", "shutting_down", None);
    assert!(service.seen().is_empty());
}

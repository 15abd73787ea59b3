//! Clients that leave: whatever they were waiting for is let go at once.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use futures::FutureExt;
use futures::stream::StreamExt;
use serde_json::{Value, json};
use spillway_router::{BackendError, BackendId};

use super::fake::{Setup, Then, hello, post, sending, started, text};

const COMPLETIONS: &str = "/v1/completions";

fn hanging() -> Setup {
    Setup { then: Then::Hang, ..sending(|| vec![started(), text(0, "a")]) }
}

fn body(fields: &Value) -> Value {
    let mut body = json!({"prompt": "hi"});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn hanging_up_on_a_whole_answer_drops_its_stream() {
    let service = hanging().build();
    let mut waiting = Box::pin(service.read(post(COMPLETIONS, &body(&json!({})))));
    assert!(waiting.as_mut().now_or_never().is_none(), "the backend hangs");
    assert_eq!(service.live_streams(), 1);
    drop(waiting);
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test]
async fn hanging_up_on_a_stream_drops_it() {
    let service = hanging().build();
    let response = service.send(post(COMPLETIONS, &body(&json!({"stream": true})))).await;
    let mut data = response.into_body().into_data_stream();
    let first = data.next().await.expect("a chunk").expect("no error");
    assert!(first.starts_with(b"data: {"));
    assert_eq!(service.live_streams(), 1);
    drop(data);
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test]
async fn hanging_up_on_several_prompts_drops_all_of_them() {
    let service = hanging().build();
    let prompts = body(&json!({"prompt": ["a", "b", "c"], "stream": true}));
    let response = service.send(post(COMPLETIONS, &prompts)).await;
    assert_eq!(service.live_streams(), 3);
    drop(response);
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test]
async fn a_refused_prompt_drops_the_others_of_its_request() {
    let script = |request: &spillway_types::GenerateRequest| match &request.prompt {
        spillway_types::Prompt::Text(text) if text == "bad" => {
            Err(BackendError::ShuttingDown { backend: BackendId::new("local") })
        }
        _ => Ok(hello(request)),
    };
    let service = Setup { script: Box::new(script), then: Then::Hang, ..Setup::default() }.build();
    let answer = service.post(COMPLETIONS, &body(&json!({"prompt": ["good", "bad"]}))).await;
    assert_eq!(answer.status, 503);
    assert_eq!((service.seen().len(), service.live_streams()), (2, 0));
}

#[tokio::test]
async fn an_answer_that_is_done_lets_its_stream_go_at_once() {
    let service = Setup { then: Then::Hang, ..Setup::default() }.build();
    let answer = service.post(COMPLETIONS, &body(&json!({"stream": true}))).await;
    assert!(answer.body.ends_with("data: [DONE]\n\n"));
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_body_is_dropped() {
    let service = hanging().build();
    let response = service.send(post(COMPLETIONS, &body(&json!({"stream": true})))).await;
    service.lifecycle.start_draining();
    assert!(service.lifecycle.drained().now_or_never().is_none(), "a stream is open");
    drop(response);
    assert!(service.lifecycle.drained().now_or_never().is_some());
}

#[tokio::test]
async fn cutting_off_ends_every_answer_with_an_error_and_lets_its_stream_go() {
    let service = hanging().build();
    let stream = service.read(post(COMPLETIONS, &body(&json!({"stream": true, "prompt": ["a", "b"]}))));
    let whole = service.read(post(COMPLETIONS, &body(&json!({}))));
    let cut_off = async {
        assert_eq!(service.live_streams(), 3);
        service.lifecycle.cut_off();
    };
    let (stream, whole, ()) = futures::join!(stream, whole, cut_off);
    let events = stream.events();
    let [.., error, done] = events.as_slice() else { panic!("{events:?}") };
    assert!(error.contains("\"code\":\"shutting_down\""), "{error}");
    assert_eq!((stream.status.as_u16(), done.as_str()), (200, "[DONE]"));
    assert_eq!((whole.status.as_u16(), whole.header("retry-after")), (503, Some("5")));
    assert_eq!(service.live_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_kept_open_by_comments() {
    let service = hanging().build();
    let response = service.send(post(COMPLETIONS, &body(&json!({"stream": true})))).await;
    let mut data: axum::body::BodyDataStream = Body::new(response.into_body()).into_data_stream();
    data.next().await.expect("a chunk").expect("no error");
    let began = tokio::time::Instant::now();
    let comment = data.next().await.expect("a comment").expect("no error");
    assert_eq!((&comment[..], began.elapsed().as_secs()), (&b": keep-alive\n\n"[..], 15));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_said_done_in_time_is_not_late() {
    let service = Setup::default().build();
    let mut request = post(COMPLETIONS, &body(&json!({"stream": true})));
    request.headers_mut().insert("x-spillway-timeout", HeaderValue::from_static("1s"));
    let mut data = service.send(request).await.into_body().into_data_stream();
    while !data.next().await.expect("it says so").expect("no error").ends_with(b"[DONE]\n\n") {}
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(data.next().await.is_none());
}

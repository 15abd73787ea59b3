//! A step that never ends: health tells, the watchdog ends the process, and so does closing.

use serde_json::{Value, json};
use spillway_tests::{Event, Events, ModelVariant, Server, within};

use super::requests::{COMPLETIONS, endless_server, greedy, with};

/// Exit code of a process whose engine hung.
const ENGINE: i32 = 4;

/// A server whose step hangs, and the stream that waits for it. The model lasts as long as the server.
async fn hanging_server(flags: &[&str]) -> (Server, Events, ModelVariant) {
    let flags = [&["--inject-fault", "hang@token=300"], flags].concat();
    let (server, model) = endless_server(&flags).await;
    assert_eq!(server.post(COMPLETIONS, &greedy("The stone", 5)).await.status, 200);
    let hangs = with(greedy("", 5), json!({"prompt": [5, 300, 7], "stream": true}));
    let stream = server.open(COMPLETIONS, &hangs).await;
    (server, stream, model)
}

/// Waits until /health tells of the step.
async fn until_unhealthy(server: &Server) -> Value {
    server.until("/health to be 503", async || server.get("/health").await.status == 503).await;
    let reply = server.get("/health").await;
    assert!(reply.header("x-request-id").is_some());
    reply.json()["error"].clone()
}

/// The error that a stream ends with.
async fn error_of(mut events: Events) -> Value {
    while let Some(event) = within("the end of the stream", events.next()).await.expect("a whole stream") {
        if let Event::Data(chunk) = event
            && !chunk["error"].is_null()
        {
            return chunk["error"].clone();
        }
    }
    panic!("the stream ended without an error");
}

#[tokio::test]
async fn an_overdue_step_fails_health_and_then_the_watchdog_ends_the_process() {
    let (mut server, stream, _model) =
        hanging_server(&["--step-timeout", "1s", "--watchdog-timeout", "4s"]).await;
    let error = until_unhealthy(&server).await;
    assert_eq!(error["code"], "not_ready");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("has run for")), "{error}");
    assert_eq!(server.get("/health/live").await.status, 200, "the process itself answers");
    server.until_logged("--watchdog-timeout is 4.0 s").await;
    assert_eq!(server.exited().await.code(), Some(ENGINE));
    drop(stream);
}

#[tokio::test]
async fn the_drain_timeout_ends_a_server_whose_step_hangs() {
    let (mut server, stream, _model) = hanging_server(&["--drain-timeout", "300ms"]).await;
    server.terminate();
    assert_eq!(error_of(stream).await["code"], "shutting_down");
    server.until_logged("still running").await;
    assert_eq!(server.exited().await.code(), Some(ENGINE));
}

#[tokio::test]
async fn a_second_and_a_third_signal_end_a_server_whose_step_hangs() {
    let (mut server, stream, _model) = hanging_server(&["--drain-timeout", "600s"]).await;
    server.terminate();
    server.until("/health to be 503", async || server.get("/health").await.status == 503).await;
    server.terminate();
    assert_eq!(error_of(stream).await["code"], "shutting_down");
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(ENGINE));
}

#[tokio::test]
async fn the_watchdog_also_works_while_the_server_closes() {
    let flags = ["--drain-timeout", "600s", "--step-timeout", "500ms", "--watchdog-timeout", "2s"];
    let (mut server, _stream, _model) = hanging_server(&flags).await;
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(ENGINE));
}

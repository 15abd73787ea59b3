//! SIGTERM: what runs is finished, what is new is refused, and the process ends.

use serde_json::{Value, json};
use spillway_tests::{Event, Events, Server, within};

use super::requests::{CHAT, COMPLETIONS, endless, endless_server, endless_stream, greedy, with};

/// Sends SIGTERM and waits until the server refuses new work.
async fn start_draining(server: &Server) {
    server.terminate();
    server.until("/health to be 503", async || server.get("/health").await.status == 503).await;
}

/// Reads a stream that is cut off: the error that it ends with.
async fn cut_off(mut events: Events) -> Value {
    let mut error = Value::Null;
    while let Some(event) = within("the end of the stream", events.next()).await.expect("a whole stream") {
        match event {
            Event::Data(chunk) if !chunk["error"].is_null() => error = chunk["error"].clone(),
            Event::Data(_) | Event::Comment(_) => assert_eq!(error, Value::Null, "text after an error"),
            Event::Done => assert_ne!(error, Value::Null, "it ended well"),
        }
    }
    error
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_refuses_what_is_new() {
    let (mut server, _model) = endless_server(&["--drain-timeout", "600s"]).await;
    let num_tokens = 12_000;
    let request = with(
        greedy("The river", num_tokens),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let mut events = server.open(COMPLETIONS, &request).await;
    within("text", events.next_text()).await.expect("a stream with text");
    start_draining(&server).await;

    let chat = json!({"messages": [{"role": "user", "content": "a"}]});
    for (path, request) in [(COMPLETIONS, greedy("a", 1)), (CHAT, chat), (COMPLETIONS, endless_stream())] {
        let reply = server.post(path, &request).await;
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["code"]), (503, &json!("shutting_down")), "{}", reply.text);
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);

    let streamed = within("the end of the stream", events.collect()).await.expect("a whole stream");
    assert_eq!((&streamed.error, streamed.choices[&0].1.as_deref()), (&None, Some("length")));
    assert_eq!(streamed.usage.expect("it was asked for")["completion_tokens"], num_tokens);
    assert_eq!(server.exited().await.code(), Some(0));
    assert!(server.client().get("/health").await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn sigterm_ends_an_idle_server_at_once() {
    let (mut server, _model) = endless_server(&["--drain-timeout", "600s"]).await;
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 1)).await.status, 200);
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off_and_told_so() {
    let (mut server, _model) = endless_server(&["--drain-timeout", "300ms"]).await;
    let mut events = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", events.next_text()).await.expect("a stream with text");
    let client = server.client();
    let request = endless();
    let whole = client.post(COMPLETIONS, &request);
    let closing = async {
        server.until_metric("vllm:num_requests_running", "", 2.0).await;
        server.terminate();
        cut_off(events).await
    };
    let (whole, error) = futures::join!(whole, closing);
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("shutting_down"), &json!("server_error")),
        "{error}"
    );
    let whole = whole.expect("an answer");
    assert_eq!(
        (whole.status, &whole.json()["error"]["code"]),
        (503, &json!("shutting_down")),
        "{}",
        whole.text
    );
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_cuts_off_at_once() {
    let (mut server, _model) = endless_server(&["--drain-timeout", "600s"]).await;
    let mut events = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", events.next_text()).await.expect("a stream with text");
    start_draining(&server).await;
    server.terminate();
    assert_eq!(cut_off(events).await["code"], "shutting_down");
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_keep_the_server_from_ending() {
    let (mut server, _model) = endless_server(&["--drain-timeout", "200ms"]).await;
    let mut events = server.open(COMPLETIONS, &with(endless_stream(), json!({"n": 8}))).await;
    within("text", events.next_text()).await.expect("a stream with text");
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(0));
    drop(events);
}

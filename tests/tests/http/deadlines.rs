//! Requests that take longer than they may: they end with an error that says so, and leave nothing behind.

use reqwest::Method;
use serde_json::{Value, json};
use spillway_tests::{Events, Reply, Server, within};

use super::requests::{CHAT, COMPLETIONS, endless, endless_server, endless_stream, greedy, with};

const TIMEOUT: &str = "x-spillway-timeout";

async fn post(server: &Server, body: &Value, timeout: &str) -> Reply {
    let request = server.client().request(Method::POST, COMPLETIONS).header(TIMEOUT, timeout).json(body);
    within("an answer", Reply::read(request)).await.expect("an answer")
}

async fn open(server: &Server, body: &Value, timeout: &str) -> Events {
    let request = server.client().request(Method::POST, COMPLETIONS).header(TIMEOUT, timeout).json(body);
    within("a stream", Events::open(request)).await.expect("an answer").expect("a stream")
}

fn is_exceeded(error: &Value, limit: &str) {
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("deadline_exceeded"), &json!("timeout_error")),
        "{error}"
    );
    assert!(error["message"].as_str().is_some_and(|text| text.contains(limit)), "{error}");
}

/// Waits until nothing is held any more, and so many sequences count as aborted.
async fn all_is_free(server: &Server, num_aborted: f64) {
    server.until_metric("vllm:request_success_total", "finished_reason=\"abort\"", num_aborted).await;
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
    server.until_metric("vllm:num_requests_waiting", "", 0.0).await;
}

#[tokio::test]
async fn a_request_over_the_servers_deadline_is_ended_and_told_so() {
    let (server, _model) = endless_server(&["--request-timeout", "700ms"]).await;
    let reply = within("an answer", server.post(COMPLETIONS, &endless())).await;
    assert_eq!(reply.status, 504, "{}", reply.text);
    is_exceeded(&reply.json()["error"], "0.7 s");
    all_is_free(&server, 1.0).await;

    let chat = json!({"messages": [{"role": "user", "content": "a"}], "ignore_eos": true, "stream": true});
    for (num_aborted, path, request) in [(2.0, COMPLETIONS, endless_stream()), (3.0, CHAT, chat)] {
        let stream = server.open(path, &request).await;
        let streamed = within("the end of the stream", stream.collect()).await.expect("a whole stream");
        assert!(streamed.texts().concat().len() > 1, "it had begun");
        is_exceeded(&streamed.error.expect("it took too long"), "0.7 s");
        all_is_free(&server, num_aborted).await;
    }
    // A client cannot have more than the server gives.
    is_exceeded(&post(&server, &endless(), "1h").await.json()["error"], "0.7 s");
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 3)).await.status, 200);
}

#[tokio::test]
async fn a_client_can_set_its_own_deadline_and_waiting_in_the_queue_counts() {
    let (server, _model) = endless_server(&["--max-num-seqs", "1"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    let waited = post(&server, &greedy("a", 3), "300ms").await;
    assert_eq!(waited.status, 504, "{}", waited.text);
    is_exceeded(&waited.json()["error"], "0.3 s");
    let stream = open(&server, &with(greedy("a", 3), json!({"stream": true})), "300ms").await;
    let streamed = within("the end of the stream", stream.collect()).await.expect("a whole stream");
    assert_eq!(streamed.texts().concat(), "", "its turn never came");
    is_exceeded(&streamed.error.expect("it took too long"), "0.3 s");
    within("text", running.next_text()).await.expect("the other goes on");
    drop(running);
    all_is_free(&server, 3.0).await;
    let enough = post(&server, &greedy("a", 3), "1h").await;
    assert_eq!(enough.status, 200, "{}", enough.text);
}

#[tokio::test]
async fn a_deadline_that_cannot_be_read_is_refused() {
    let (server, _model) = endless_server(&[]).await;
    for (timeout, says) in [("30", "30s"), ("soon", "soon"), ("0s", "longer than 0s"), ("", "duration")] {
        let reply = post(&server, &greedy("a", 3), timeout).await;
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["param"]), (400, &json!(TIMEOUT)), "{timeout}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{timeout}: {error}");
    }
}

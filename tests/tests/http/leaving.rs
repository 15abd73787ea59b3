//! Clients that hang up: what they held is free at once, and counted as aborted.

use futures::FutureExt as _;
use serde_json::{Value, json};
use spillway_tests::{Server, within};

use super::requests::{CHAT, COMPLETIONS, endless, endless_server, endless_stream, greedy, with};

/// Waits until nothing is held any more, and checks that so many sequences count as aborted.
async fn all_is_free(server: &Server, num_aborted: f64) {
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
    server.until_metric("vllm:num_requests_running", "", 0.0).await;
    server.until_metric("vllm:num_requests_waiting", "", 0.0).await;
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("vllm:request_success_total", "finished_reason=\"abort\""), Some(num_aborted));
    for reason in ["stop", "length", "error"] {
        let label = format!("finished_reason=\"{reason}\"");
        assert_eq!(metrics.value("vllm:request_success_total", &label), Some(0.0), "{reason}");
    }
}

/// Sends a request for a whole answer, waits until it is running, and hangs up.
async fn hang_up_while_waiting(server: &Server, path: &str, request: &Value, num_running: f64) {
    let client = server.client();
    let mut answer = Box::pin(client.post(path, request));
    let is_running = server.until_metric("vllm:num_requests_running", "", num_running);
    tokio::select! {
        answer = &mut answer => panic!("answered before the client hung up: {answer:?}"),
        () = is_running => {}
    }
    assert!(answer.now_or_never().is_none(), "dropped while it waits");
}

#[tokio::test]
async fn hanging_up_on_a_stream_frees_its_blocks() {
    let (server, _model) = endless_server(&[]).await;
    let mut events = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", events.next_text()).await.expect("a stream with text");
    server.until("blocks to be held", async || held(&server).await > 0.0).await;
    drop(events);
    all_is_free(&server, 1.0).await;

    let chat =
        json!({"messages": [{"role": "user", "content": "a"}], "stream": true, "ignore_eos": true, "n": 3});
    let mut events = server.open(CHAT, &chat).await;
    within("text", events.next_text()).await.expect("a stream with text");
    drop(events);
    all_is_free(&server, 4.0).await;
}

async fn held(server: &Server) -> f64 {
    server.metrics().await.value("vllm:kv_cache_usage_perc", "").expect("it is always there")
}

#[tokio::test]
async fn hanging_up_on_a_whole_answer_frees_its_blocks() {
    let (server, _model) = endless_server(&[]).await;
    hang_up_while_waiting(&server, COMPLETIONS, &endless(), 1.0).await;
    all_is_free(&server, 1.0).await;
    let several = with(endless(), json!({"prompt": ["a", "b", "The river"], "n": 2}));
    hang_up_while_waiting(&server, COMPLETIONS, &several, 6.0).await;
    all_is_free(&server, 7.0).await;
    let chat = json!({"messages": [{"role": "user", "content": "a"}], "ignore_eos": true});
    hang_up_while_waiting(&server, CHAT, &chat, 1.0).await;
    all_is_free(&server, 8.0).await;
}

#[tokio::test]
async fn hanging_up_while_waiting_in_the_queue_leaves_nothing_behind() {
    let (server, _model) = endless_server(&["--max-num-seqs", "1"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    let waiting = server.open(COMPLETIONS, &endless_stream()).await;
    server.until_metric("vllm:num_requests_waiting", "", 1.0).await;
    drop(waiting);
    server.until_metric("vllm:num_requests_waiting", "", 0.0).await;
    within("text", running.next_text()).await.expect("the other goes on");
    drop(running);
    all_is_free(&server, 2.0).await;
}

#[tokio::test]
async fn others_do_not_notice_that_a_client_hangs_up() {
    let (server, _model) = endless_server(&[]).await;
    let request = greedy("The stone", 300);
    let alone = server.post(COMPLETIONS, &request).await.texts();
    let client = server.client();
    let staying = async { client.post(COMPLETIONS, &request).await.expect("an answer").texts() };
    let leaving = async {
        for _ in 0..5 {
            let mut events = server.open(COMPLETIONS, &endless_stream()).await;
            within("text", events.next_text()).await.expect("a stream with text");
        }
    };
    let (together, ()) = futures::join!(staying, leaving);
    assert_eq!(together, alone);
    server.until_metric("vllm:request_success_total", "finished_reason=\"abort\"", 5.0).await;
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

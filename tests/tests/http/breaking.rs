//! Steps that panic, fail, or give no numbers: their requests end with an error, and the server goes on.
//!
//! The faults are planted with `--inject-fault`; a request meets one by the tokens of its prompt.

use serde_json::{Value, json};
use spillway_tests::{Server, within};

use super::requests::{CHAT, COMPLETIONS, endless_server, endless_stream, greedy, with};

/// A request that meets the planted fault.
fn fatal() -> Value {
    with(greedy("", 5), json!({"prompt": [5, 300, 7]}))
}

/// Checks that an error is the one of a backend that broke, and tells clients nothing of the inside.
fn is_failure(error: &Value) {
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("backend_failed"), &json!("server_error")),
        "{error}"
    );
    assert!(!error.to_string().contains("planted"), "{error}");
}

/// Waits until nothing is held any more, and checks how many sequences failed.
async fn all_is_free(server: &Server, num_failed: f64) {
    server.until_metric("vllm:request_success_total", "finished_reason=\"error\"", num_failed).await;
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
    server.until_metric("vllm:num_requests_running", "", 0.0).await;
    server.until_metric("vllm:num_requests_waiting", "", 0.0).await;
}

/// Whatever breaks a whole step: everyone in it hears of an error, and the next request is served as before.
async fn breaks_a_step_and_nothing_else(fault: &str) {
    let (server, _model) = endless_server(&["--inject-fault", fault]).await;
    let reference = server.post(COMPLETIONS, &greedy("The stone", 50)).await.texts();
    for round in 1..=3 {
        let mut company = server.open(COMPLETIONS, &endless_stream()).await;
        within("text", company.next_text()).await.expect("a stream with text");
        let refused = server.post(COMPLETIONS, &fatal()).await;
        assert_eq!(refused.status, 500, "{}", refused.text);
        is_failure(&refused.json()["error"]);
        let company = within("the end of the stream", company.collect()).await.expect("a whole stream");
        is_failure(&company.error.expect("it was in the step"));

        all_is_free(&server, f64::from(2 * round)).await;
        assert_eq!(server.get("/health").await.status, 200);
        assert_eq!(server.post(COMPLETIONS, &greedy("The stone", 50)).await.texts(), reference);
    }
    let stream = server.open(COMPLETIONS, &with(fatal(), json!({"stream": true}))).await;
    let stream = within("the end of the stream", stream.collect()).await.expect("a whole stream");
    is_failure(&stream.error.expect("its step broke"));
}

#[tokio::test]
async fn a_broken_device_fails_every_request_and_then_ends_the_process() {
    const DEVICE: i32 = 5;
    let flags = ["--inject-fault", "device@token=300", "--max-num-seqs", "1"];
    let (mut server, _model) = endless_server(&flags).await;
    assert_eq!(server.post(COMPLETIONS, &greedy("The stone", 5)).await.status, 200);
    let fatal = server.open(COMPLETIONS, &with(fatal(), json!({"stream": true}))).await;
    let fatal = within("the end of the stream", fatal.collect()).await.expect("a whole stream");
    is_failure(&fatal.error.expect("its step broke"));
    assert_eq!(server.exited().await.code(), Some(DEVICE));
    let says = |text: &str| server.log().iter().any(|line| line.contains(text));
    assert!(says("the device broke: a planted fault of the device"), "the log names the cause");
}

#[tokio::test]
async fn a_panic_in_a_step_ends_its_requests_and_the_server_goes_on() {
    breaks_a_step_and_nothing_else("panic@token=300").await;
}

#[tokio::test]
async fn an_error_in_a_step_ends_its_requests_and_the_server_goes_on() {
    breaks_a_step_and_nothing_else("error@token=300").await;
}

#[tokio::test]
async fn logits_that_are_no_numbers_end_their_request_alone() {
    let (server, _model) = endless_server(&["--inject-fault", "nan@token=300"]).await;
    let request = greedy("The stone", 400);
    let alone = server.post(COMPLETIONS, &request).await.texts();
    let client = server.client();
    let company = async { client.post(COMPLETIONS, &request).await.expect("an answer").texts() };
    let failing = async {
        let mut running = server.open(COMPLETIONS, &endless_stream()).await;
        within("text", running.next_text()).await.expect("a stream with text");
        for _ in 0..5 {
            let refused = server.post(COMPLETIONS, &fatal()).await;
            assert_eq!(refused.status, 500, "{}", refused.text);
            is_failure(&refused.json()["error"]);
        }
        within("text", running.next_text()).await.expect("the other goes on");
    };
    let (together, ()) = futures::join!(company, failing);
    assert_eq!(together, alone);
    all_is_free(&server, 5.0).await;
}

#[tokio::test]
async fn a_panic_while_a_prompt_is_made_ends_its_request_alone() {
    let (server, _model) = endless_server(&["--inject-fault", "panic@template"]).await;
    let mut company = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", company.next_text()).await.expect("a stream with text");
    let chat = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 2});
    for request in [chat.clone(), with(chat, json!({"stream": true}))] {
        let refused = server.post(CHAT, &request).await;
        assert_eq!(refused.status, 500, "{}", refused.text);
        is_failure(&refused.json()["error"]);
    }
    within("text", company.next_text()).await.expect("the other goes on");
    assert_eq!(server.get("/health").await.status, 200);
    drop(company);
    all_is_free(&server, 0.0).await;
}

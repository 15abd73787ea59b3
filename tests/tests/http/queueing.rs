//! A full queue, a cache that is too small, and priorities.

use serde_json::json;
use spillway_tests::within;

use super::requests::{
    CHAT, COMPLETIONS, endless_server, endless_server_with_cache, endless_stream, greedy, with,
};

#[tokio::test]
async fn a_full_queue_answers_429_and_says_when_to_come_back() {
    let (server, _model) = endless_server(&["--max-num-seqs", "1", "--max-waiting", "2"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    let waiting = [
        server.open(COMPLETIONS, &endless_stream()).await,
        server.open(COMPLETIONS, &endless_stream()).await,
    ];
    server.until_metric("vllm:num_requests_waiting", "", 2.0).await;

    let chat = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1});
    let stream = with(chat.clone(), json!({"stream": true}));
    for (path, request) in [(COMPLETIONS, greedy("a", 1)), (CHAT, chat), (CHAT, stream)] {
        let reply = server.post(path, &request).await;
        assert_eq!(reply.status, 429, "{}", reply.text);
        let seconds: u64 = reply.header("retry-after").expect("it says when").parse().expect("in seconds");
        assert!(seconds >= 1);
        let error = reply.json()["error"].clone();
        assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("queue_full")));
        assert!(
            error["message"].as_str().is_some_and(|message| message.contains('2')),
            "the limit is named: {error}"
        );
    }
    // Nothing of what was refused is left behind, and the queue moves on.
    server.until_metric("vllm:num_requests_waiting", "", 2.0).await;
    drop(running);
    let [mut next, last] = waiting;
    within("text", next.next_text()).await.expect("the first that waited runs");
    drop((next, last));
    assert_eq!(within("an answer", server.post(COMPLETIONS, &greedy("a", 1))).await.status, 200);
}

#[tokio::test]
async fn several_prompts_that_do_not_all_fit_the_queue_leave_none_behind() {
    let (server, _model) = endless_server(&["--max-num-seqs", "1", "--max-waiting", "2"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    let prompts = json!({"prompt": ["a", "b", "c"]});
    let reply = server.post(COMPLETIONS, &with(greedy("", 1), prompts)).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (429, &json!("queue_full")));
    server.until_metric("vllm:num_requests_waiting", "", 0.0).await;
    drop(running);
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

#[tokio::test]
async fn requests_that_wait_are_served_when_there_is_room_again() {
    // So few blocks that the requests must give way to each other.
    let (server, _model) = endless_server_with_cache("128KiB", &["--max-num-seqs", "16"]).await;
    let request = |index: usize| greedy(&"The stone finds the kitchen. ".repeat(1 + index), 60);
    let mut alone = Vec::new();
    for index in 0..6 {
        alone.push(server.post(COMPLETIONS, &request(index)).await.texts());
    }
    let client = server.client();
    let all = (0..6).map(|index| {
        let (client, request) = (client.clone(), request(index));
        async move { client.post(COMPLETIONS, &request).await.expect("an answer").texts() }
    });
    assert_eq!(futures::future::join_all(all).await, alone);
    let preemptions = server.metrics().await.value("vllm:num_preemptions_total", "");
    assert!(preemptions > Some(0.0), "the cache was meant to be too small: {preemptions:?}");
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

#[tokio::test]
async fn a_cache_smaller_than_the_context_is_the_context() {
    let (server, _model) = endless_server_with_cache("64KiB", &[]).await;
    let model = server.get("/v1/models").await.json()["data"][0].clone();
    assert_eq!(model["max_model_len"], 8 * 16, "8 blocks of 16 tokens");
    let refused = server.post(COMPLETIONS, &greedy("a", 128)).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("max_tokens")),
        "{}",
        refused.text
    );
    let whole = server.post(COMPLETIONS, &greedy("a", 127)).await;
    assert_eq!((whole.status, whole.usage("/completion_tokens")), (200, 127));
    let ids = json!({"prompt": vec![100; 128]});
    let refused = server.post(COMPLETIONS, &with(greedy("", 1), ids)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
}

#[tokio::test]
async fn a_high_priority_overtakes_in_the_queue() {
    let (server, _model) = endless_server(&["--max-num-seqs", "1"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    let low = server.open(COMPLETIONS, &with(endless_stream(), json!({"priority": "low"}))).await;
    let high = json!({"priority": "high", "stream": true});
    let mut high = server.open(COMPLETIONS, &with(greedy("a", 5), high)).await;
    server.until_metric("vllm:num_requests_waiting", "", 2.0).await;
    drop(running);
    // Behind the other it would wait for ever.
    within("text", high.next_text()).await.expect("it overtakes");
    drop(low);
}

#[tokio::test]
async fn a_queue_whose_prompts_take_too_long_answers_429() {
    let flags = ["--max-queue-ttft", "1ms", "--max-num-batched-tokens", "16", "--max-num-seqs", "16"];
    let (server, _model) = endless_server(&flags).await;
    // A prompt of more than a thousand steps; nobody knows at first how fast they are.
    let long = |first: u32| with(greedy("", 1), json!({"prompt": vec![first; 20_000], "stream": true}));
    let running = server.open(COMPLETIONS, &long(5)).await;
    let is_measured = async || {
        let metrics = server.metrics().await;
        metrics.value("spillway_prefill_tokens_per_second", "").is_some_and(|rate| rate > 0.0)
            && metrics.value("spillway_queued_prompt_tokens", "").is_some_and(|tokens| tokens > 0.0)
    };
    server.until("the rate to be measured", is_measured).await;
    for request in [long(6), greedy("a", 1)] {
        let refused = server.post(COMPLETIONS, &request).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status, &error["code"]), (429, &json!("queue_full")), "{error}");
        let seconds: u64 = refused.header("retry-after").expect("it says when").parse().expect("in seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    drop(running);
    server.until_metric("vllm:num_requests_running", "", 0.0).await;
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 1)).await.status, 200, "an empty queue takes anything");
}

//! The demo model, as users meet it first.

use futures::future::join_all;
use serde_json::json;
use spillway_tests::{Server, demo_model};

use super::requests::{CHAT, COMPLETIONS, greedy, with};

#[tokio::test]
async fn the_demo_model_answers_alike_whole_streamed_and_in_company() {
    let server = Server::start(&demo_model(), &["--served-model-name", "demo"]).await;
    let chat = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}],
        "max_tokens": 24,
        "temperature": 0,
    });
    let whole = server.post(CHAT, &chat).await;
    let text = whole.texts()[0].clone();
    assert!(text.contains("Paris"), "{text}");
    assert!(!text.contains("<|im_"), "{text}");
    assert_eq!(server.stream(CHAT, &chat).await.texts()[0], text);

    let (before, _) = text.split_once("ari").expect("Paris is named");
    let stopped = server.post(CHAT, &with(chat.clone(), json!({"stop": ["ari"]}))).await;
    assert_eq!((stopped.texts()[0].as_str(), stopped.finish_reason().as_str()), (before, "stop"));

    let client = server.client();
    let company = (0..6).map(|index| {
        let (client, request) =
            (client.clone(), greedy(&"The stone finds the kitchen. ".repeat(1 + index), 24));
        async move { client.post(COMPLETIONS, &request).await.expect("an answer").status }
    });
    let (statuses, together) = futures::join!(join_all(company), client.post(CHAT, &chat));
    assert_eq!(statuses, [200; 6]);
    assert_eq!(together.expect("an answer").texts()[0], text);
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

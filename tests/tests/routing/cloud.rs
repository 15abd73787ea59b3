//! A real local model, AWS's SDK, an emulator of others as the cloud, and another Spillway as the model behind it.

use serde_json::json;
use spillway_tests::{MiniStack, Server, demo_model};

use super::world::{PRIVACY, World, backend, chat, post};

/// The model's name at AWS, which the emulator passes on.
const CLOUD_MODEL: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

#[tokio::test]
async fn a_standard_request_reaches_an_emulated_cloud_and_a_private_one_does_not() {
    let model = demo_model();
    let behind = Server::start(&model, &["--served-model-name", CLOUD_MODEL]).await;
    let Some(cloud) = MiniStack::start(Some(behind.client().base())).await else { return };
    let world = World::new().await;
    // Without a price in the file: the binary's table knows it.
    world.configure(&format!(
        r#"
[[backends]]
name = "cloud"
type = "bedrock"
region = "us-east-1"
model = "{CLOUD_MODEL}"
endpoint_url = "{}"

[[routes]]
name = "chat"
models = ["chat"]
default_privacy = "standard"
targets = ["local", "cloud"]
tags = {{ far = "cloud" }}
"#,
        cloud.url()
    ));
    let mut server = world.start_on(&model, &["--kv-cache-memory", "256MiB"]).await;
    let client = server.client();
    let mut body = chat("chat", "Say hello.");
    body["temperature"] = json!(0);
    let here = post(&client, &body, &[]).await;
    assert_eq!((here.status, backend(&here)), (200, "local"), "{}", here.text);
    let there = post(&client, &body, &[("x-spillway-tags", "far")]).await;
    assert_eq!((there.status, backend(&there)), (200, "cloud"), "{}", there.text);
    let text = |reply: &spillway_tests::Reply| {
        reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    };
    // The same model is behind both, so both say the same.
    assert_eq!(text(&there), text(&here));
    assert!(there.header("x-spillway-cost-usd").is_some_and(|cost| cost != "0"), "it is paid for");
    let kept = post(&client, &body, &[("x-spillway-tags", "far"), (PRIVACY, "private")]).await;
    assert_eq!((kept.status, backend(&kept)), (200, "local"), "{}", kept.text);
    server.terminate();
    server.exited().await;
    let paid = world.rows().into_iter().filter(|row| row.backend == "cloud").count();
    assert_eq!(paid, 1);
}

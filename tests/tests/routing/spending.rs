//! What was spent, as the operator is told it.

use spillway_tests::run_to_end;

use super::world::{World, chat, post};

const ROUTE: &str = "[[routes]]\nname = \"r\"\nmodels = [\"m\"]\ndefault_privacy = \"standard\"\n\
                     targets = [\"plain\"]\n";

#[tokio::test]
async fn the_month_is_told_beside_a_running_server() {
    let world = World::new().await;
    let config = world.configure(&format!("{}{ROUTE}", world.bedrock("plain", "")));
    let mut server = world.start(&[]).await;
    for _ in 0..3 {
        let reply = post(&server.client(), &chat("m", "one two three"), &[]).await;
        assert_eq!(reply.header("x-spillway-cost-usd"), Some("0.000043"), "{}", reply.text);
    }
    let told = async |more: &[&str]| {
        let config = config.to_str().expect("test paths are UTF-8");
        let output = run_to_end(&[&["ledger", "--config", config], more].concat()).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    };
    // Settled rows are written within milliseconds, and the server still runs.
    server.until("three settled calls", async || told(&[]).await.contains("0.000129 dollars spent")).await;
    let by_route: serde_json::Value =
        serde_json::from_str(&told(&["--by", "route", "--json"]).await).expect("it is JSON");
    assert_eq!(by_route["spend"][0]["name"], "r", "{by_route}");
    assert_eq!(by_route["spend"][0]["prompt_tokens"], 9, "{by_route}");
    server.until_metric("spillway_month_spent_usd", "", 0.0).await;
    server.terminate();
    server.exited().await;
}

#[tokio::test]
async fn a_ledger_in_memory_takes_paid_calls_too() {
    let world = World::new().await;
    world.configure_without_file(&format!("{}{ROUTE}", world.bedrock("plain", "")));
    let server = world.start(&[]).await;
    let reply = post(&server.client(), &chat("m", "one two three"), &[]).await;
    assert_eq!(
        (reply.status, reply.header("x-spillway-cost-usd")),
        (200, Some("0.000043")),
        "{}",
        reply.text
    );
}

//! A config that changes under a running server.

use serde_json::json;
use spillway_tests::within;

use super::world::{World, backend, chat, post, stream};

fn to(world: &World, target: &str) -> String {
    let route = format!(
        "[[routes]]\nname = \"r\"\nmodels = [\"m\"]\ndefault_privacy = \"standard\"\ntargets = [\"{target}\"]\n"
    );
    format!("{}{}{route}", world.bedrock("plain", ""), world.bedrock("words-20", ""))
}

#[tokio::test]
async fn a_new_file_is_in_force_after_a_signal_and_a_bad_one_never_is() {
    let world = World::new().await;
    world.configure(&to(&world, "plain"));
    let mut server = world.start(&[]).await;
    let client = server.client();
    let served_by = async || backend(&post(&client, &chat("m", "hello"), &[]).await).to_owned();
    assert_eq!(served_by().await, "plain");

    world.configure(&to(&world, "words-20"));
    server.signal("HUP");
    server.until_logged("a new config is in force").await;
    assert_eq!(served_by().await, "words-20");

    world.configure(&to(&world, "nobody"));
    server.signal("HUP");
    server.until_logged("the old one stays in force").await;
    let told =
        server.log().into_iter().find(|line| line.contains("the old one stays in force")).expect("a line");
    assert!(told.contains("`nobody`") && told.contains("line "), "{told}");
    assert_eq!(served_by().await, "words-20");
    server.until_metric("spillway_config_reloads_total", "result=\"applied\"", 1.0).await;
    server.until_metric("spillway_config_reloads_total", "result=\"refused\"", 1.0).await;
}

#[tokio::test]
async fn an_answer_under_way_is_not_disturbed_by_a_new_file() {
    let world = World::new().await;
    let held = |target: &str| format!("{}{}", world.bedrock("silent-after", ""), to(&world, target));
    world.configure(&held("silent-after"));
    let mut server = world.start(&[]).await;
    let client = server.client();
    let under_way = {
        let client = client.clone();
        async move { stream(&client, &chat("m", "hello"), &[]).await }
    };
    let change = async {
        within("the call to hold still", world.cloud.calls_held(1)).await;
        world.configure(&held("plain"));
        server.signal("HUP");
        server.until_logged("a new config is in force").await;
        assert_eq!(backend(&post(&client, &chat("m", "hello"), &[]).await), "plain");
        world.cloud.release();
    };
    let (answer, ()) = futures::join!(under_way, change);
    let answer = answer.expect("a stream");
    assert_eq!(answer.error, None, "it came to its end: {}", json!(answer.error));
}

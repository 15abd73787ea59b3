//! Why a request goes where it goes, asked without sending it.

use super::world::{CHAT, World, chat};

const ROUTE: &str = "[[routes]]\nname = \"r\"\nmodels = [\"m\"]\ndefault_privacy = \"standard\"\n\
                     targets = [\"plain\", \"echo\"]\n";

#[tokio::test]
async fn a_decision_is_told_and_nothing_is_sent() {
    let world = World::new().await;
    world.configure(&format!("{}{}{ROUTE}", world.bedrock("plain", ""), world.bedrock("echo", "")));
    let server = world.start(&["--admin-port", "0"]).await;
    let reply = server.admin().post("/admin/route/explain", &chat("m", "hello")).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text);
    let told = reply.json();
    assert_eq!(told["reason"], "preferred", "{told}");
    assert_eq!(told["plan"], serde_json::json!(["plain", "echo"]), "{told}");
    assert_eq!(told["privacy"], "standard", "{told}");
    let refused = chat("m", "hello");
    let request = server.admin().request(reqwest::Method::POST, "/admin/route/explain").json(&refused);
    let reply = spillway_tests::Reply::read(request.header("x-spillway-privacy", "private"))
        .await
        .expect("an answer");
    assert!(reply.text.contains("private"), "{}", reply.text);
    assert_eq!(world.cloud.requests().len(), 0, "{CHAT} was never called");
}

//! Private prompts never leave, whatever fails: the cloud keeps every byte that it was sent.

use std::time::Duration;

use serde_json::json;
use spillway_tests::{Server, tiny_model};

use super::world::{PRIVACY, World, backend, chat, post};

/// Words that stand in every private prompt and in no other.
const MARKER: &str = "zebra-kettle-0419";
/// SHA-256 of the keys `ward-key` and `desk-key`.
const KEYS: &str = r#"
[[keys]]
name = "ward"
sha256 = "WARD"
privacy = "private"

[[keys]]
name = "desk"
sha256 = "DESK"
"#;

fn keys() -> String {
    use std::fmt::Write as _;

    use sha2::{Digest as _, Sha256};
    let digest = |key: &str| {
        let mut hex = String::new();
        for byte in Sha256::digest(key) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    };
    KEYS.replace("WARD", &digest("ward-key")).replace("DESK", &digest("desk-key"))
}

/// Everything that can move a request out is on: overflow, hard prompts, tags, a split, hedges, copies, fallbacks.
fn eager_to_leave(world: &World) -> String {
    let routes = r#"
[[routes]]
name = "open"
models = ["open"]
default_privacy = "standard"
targets = ["local", "plain", "echo"]
overflow = ["plain"]
slo_ttft = "1ms"
strong = { backend = "echo", share = 1.0 }
tags = { law = "plain" }
split = [{ variant = "a", backend = "local", weight = 1 }, { variant = "b", backend = "plain", weight = 1 }]
shadow = { backend = "echo", share = 1.0 }

[[routes]]
name = "closed"
models = ["closed"]
default_privacy = "private"
targets = ["plain", "local"]
shadow = { backend = "echo", share = 1.0 }

[router]
hedge_after = "1ms"

[[content_rules]]
name = "case-number"
pattern = "case no\\. [0-9]+"
"#;
    format!("{}{}{routes}{}", world.bedrock("plain", ""), world.bedrock("echo", ""), keys())
}

/// A model, a text, and headers.
type PrivateWay = (&'static str, String, Vec<(&'static str, &'static str)>);

/// How a request can be private, each with what it is sent with.
fn private_ways() -> [PrivateWay; 6] {
    let text = format!("the {MARKER} of");
    let desk = ("authorization", "Bearer desk-key");
    [
        ("open", text.clone(), vec![desk, (PRIVACY, "private")]),
        ("open", text.clone(), vec![("authorization", "Bearer ward-key")]),
        // The strictest wins: a header cannot lift what the key says.
        ("open", text.clone(), vec![("authorization", "Bearer ward-key"), (PRIVACY, "standard")]),
        ("open", format!("{text} case no. 17"), vec![desk]),
        ("closed", text.clone(), vec![desk]),
        ("open", text, vec![desk, (PRIVACY, "private"), ("x-spillway-tags", "law")]),
    ]
}

async fn served_here_or_refused(world: &World, server: &Server) -> Vec<u16> {
    let client = server.client();
    let mut statuses = Vec::new();
    for (model, text, headers) in private_ways() {
        for is_stream in [false, true] {
            let mut body = chat(model, &text);
            body["stream"] = json!(is_stream);
            let reply = post(&client, &body, &headers).await;
            assert!(matches!(backend(&reply), "" | "local"), "{}: {}", backend(&reply), reply.text);
            assert!(!world.cloud.has_seen(MARKER), "{model} {headers:?}");
            statuses.push(reply.status);
        }
    }
    statuses
}

#[tokio::test]
async fn private_prompts_are_served_here_though_everything_pulls_them_out() {
    let world = World::new().await;
    world.configure(&eager_to_leave(&world));
    let mut server = world.start_with_model(&[]).await;
    let statuses = served_here_or_refused(&world, &server).await;
    assert_eq!(statuses, [200; 12]);
    // The same path does lead out. The hedge to the local model may win, but the copy arrives in any case.
    let headers = [("authorization", "Bearer desk-key"), ("x-spillway-tags", "law")];
    let reply = post(&server.client(), &chat("open", "the standard words of"), &headers).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let arrived = async {
        while !world.cloud.has_seen("the standard words of") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.expect("a standard prompt is copied out");
    server.terminate();
    server.exited().await;
    let rows = world.rows();
    let left =
        |privacy: &str| rows.iter().filter(|row| row.privacy == privacy && row.backend != "local").count();
    assert_eq!(left("private"), 0);
    assert!(left("standard") > 0);
    assert!(!world.cloud.has_seen(MARKER));
}

#[tokio::test]
async fn private_prompts_never_leave_when_everything_here_fails() {
    let world = World::new().await;
    world.configure(&eager_to_leave(&world));
    // Every prompt has the token of `e`, and a step that computes it breaks.
    let token = token_of_e().await;
    let fault = format!("error@token={token}");
    let mut server = world.start_with_model(&["--inject-fault", &fault]).await;
    for status in served_here_or_refused(&world, &server).await {
        assert!(status >= 500 || status == 200, "{status}");
    }
    let headers = [("authorization", "Bearer desk-key")];
    let reply = post(&server.client(), &chat("open", "the standard words of"), &headers).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_ne!(backend(&reply), "local", "a standard one is saved by the cloud");
    server.terminate();
    server.exited().await;
    assert!(!world.cloud.has_seen(MARKER));
    assert!(world.cloud.has_seen("the standard words of"));
    let failed = world.rows().iter().filter(|row| row.backend == "local").count();
    assert!(failed > 0, "the local model was asked");
}

/// The token that `e` makes in the tiny model's tokenizer, as a piece of any text that has one alone.
async fn token_of_e() -> u64 {
    let server = Server::start(&tiny_model("tied"), &[]).await;
    let reply = server.post("/tokenize", &json!({"prompt": format!("the {MARKER} of")})).await;
    let marked: Vec<u64> = reply.json()["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    let reply = server.post("/tokenize", &json!({"prompt": "the standard words of"})).await;
    let standard: Vec<u64> = reply.json()["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    *marked.iter().find(|token| standard.contains(token)).expect("both texts share a token")
}

//! API keys: asked for on every path but health, in either header, and never shown.

use reqwest::Method;
use serde_json::json;
use spillway_tests::{Client, Reply, Server, Surroundings, tiny_model, within};

use super::requests::{COMPLETIONS, greedy};

/// Every path that is there, and one that is not.
const PATHS: [(Method, &str); 9] = [
    (Method::POST, "/v1/chat/completions"),
    (Method::POST, COMPLETIONS),
    (Method::GET, "/v1/models"),
    (Method::GET, "/v1/models/tied"),
    (Method::POST, "/tokenize"),
    (Method::POST, "/detokenize"),
    (Method::GET, "/metrics"),
    (Method::GET, "/version"),
    (Method::GET, "/nowhere"),
];

async fn ask(client: &Client, method: &Method, path: &str, header: Option<(&str, &str)>) -> Reply {
    let mut request = client.request(method.clone(), path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    within("an answer", Reply::read(request)).await.expect("an answer")
}

fn is_refused(reply: &Reply, what: &str) {
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, &error["code"]), (401, &json!("invalid_api_key")), "{what}: {error}");
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"spillway\""), "{what}");
    assert!(reply.header("x-request-id").is_some());
}

#[tokio::test]
async fn every_path_but_health_asks_for_a_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("keys");
    std::fs::write(&file, "# the team's\nsk-file-one\n\nsk-file-two\n").expect("room on the disk");
    let file = file.to_str().expect("test paths are UTF-8");
    let surroundings =
        Surroundings { environment: &[("SPILLWAY_API_KEY", "sk-environment")], certificate: None };
    let flags =
        ["--api-key", "sk-flag", "--api-key-file", file, "--admin-port", "0", "--log-filter", "debug"];
    let server = Server::start_in(&surroundings, tiny_model("tied").as_os_str(), &flags).await;
    let (client, admin) = (server.client(), server.admin());

    for path in ["/health", "/health/live"] {
        for client in [&client, &admin] {
            assert_eq!(ask(client, &Method::GET, path, None).await.status, 200, "{path}");
        }
    }
    for (method, path) in &PATHS {
        is_refused(&ask(&client, method, path, None).await, path);
        is_refused(&ask(&client, method, path, Some(("authorization", "Bearer sk-wrong"))).await, path);
    }
    is_refused(&ask(&admin, &Method::GET, "/metrics", None).await, "the administrators' port");

    for key in ["sk-flag", "sk-file-one", "sk-file-two", "sk-environment"] {
        let bearer = format!("Bearer {key}");
        for header in [("authorization", bearer.as_str()), ("x-api-key", key)] {
            let models = ask(&client, &Method::GET, "/v1/models", Some(header)).await;
            assert_eq!(models.status, 200, "{header:?}");
            assert_eq!(ask(&admin, &Method::GET, "/metrics", Some(header)).await.status, 200);
            let request = client.request(Method::POST, COMPLETIONS).header(header.0, header.1);
            let reply = Reply::read(request.json(&greedy("a", 2))).await.expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    for key in ["", "sk-", "sk-flag2", "SK-FLAG", "# the team's", "sk-file-one sk-file-two", "*"] {
        is_refused(&ask(&client, &Method::GET, "/v1/models", Some(("x-api-key", key))).await, key);
        let basic = format!("Basic {key}");
        is_refused(&ask(&client, &Method::GET, "/v1/models", Some(("authorization", &basic))).await, key);
    }
    for line in server.log() {
        assert!(!line.contains("sk-"), "a key is in the log: {line}");
    }
}

#[tokio::test]
async fn without_keys_everyone_may_ask() {
    let server = Server::start(&tiny_model("tied"), &[]).await;
    let reply =
        ask(&server.client(), &Method::GET, "/v1/models", Some(("authorization", "Bearer any"))).await;
    assert_eq!(reply.status, 200);
}

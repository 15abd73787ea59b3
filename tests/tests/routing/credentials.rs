//! Where AWS credentials may come from beside the environment: each way ends in a request that the cloud finds well signed.

use std::fmt::Write as _;

use axum::routing::get;
use spillway_tests::FakeBedrock;

use super::world::{World, backend, chat, post};

const KEY_ID: &str = FakeBedrock::ACCESS_KEY_ID;
const SECRET: &str = FakeBedrock::SECRET_ACCESS_KEY;

const ROUTE: &str =
    "[[routes]]\nname = \"r\"\nmodels = [\"m\"]\ndefault_privacy = \"standard\"\ntargets = [\"plain\"]\n";

/// Asks once, with a backend that has `more` in its section, in this environment.
async fn serves(world: &World, more: &str, environment: &[(&str, &str)]) {
    world.configure(&format!("{}{ROUTE}", world.bedrock("plain", more)));
    let server = world.start_in(environment).await;
    let reply = post(&server.client(), &chat("m", "hello"), &[]).await;
    assert_eq!((reply.status, backend(&reply)), (200, "plain"), "{}", reply.text);
}

#[tokio::test]
async fn a_profile_is_read_from_the_shared_files() {
    let world = World::new().await;
    let path = world.path("aws");
    let profile = format!("[profile team]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(&path, profile).expect("the file is written");
    let path = path.to_str().expect("test paths are UTF-8");
    serves(&world, "aws_profile = \"team\"", &[("AWS_CONFIG_FILE", path)]).await;
}

#[tokio::test]
async fn a_program_that_a_profile_names_is_run() {
    let world = World::new().await;
    let (told, path) = (world.path("told"), world.path("aws"));
    let json = format!(r#"{{"Version": 1, "AccessKeyId": "{KEY_ID}", "SecretAccessKey": "{SECRET}"}}"#);
    std::fs::write(&told, json).expect("the file is written");
    let mut profile = "[profile team]\n".to_owned();
    let _ = writeln!(profile, "credential_process = cat {}", told.display());
    std::fs::write(&path, profile).expect("the file is written");
    let path = path.to_str().expect("test paths are UTF-8");
    serves(&world, "aws_profile = \"team\"", &[("AWS_CONFIG_FILE", path)]).await;
}

#[tokio::test]
async fn a_container_is_given_its_role() {
    let answer = serde_json::json!({
        "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": "of-a-session", "Expiration": "2099-01-01T00:00:00Z",
    });
    let role = axum::Router::new().route("/role", get(async move || axum::Json(answer.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, role).await });
    let url = format!("http://{address}/role");
    serves(&World::new().await, "", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)]).await;
}

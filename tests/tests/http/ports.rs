//! The administrators' port, TLS, and browsers of other web sites.

use std::path::Path;

use reqwest::Method;
use spillway_tests::{Client, Reply, Server, Surroundings, run_to_end, tiny_model, within};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::requests::{COMPLETIONS, greedy, tiny_server, with};

#[tokio::test]
async fn with_an_administrators_port_metrics_are_there_and_no_longer_public() {
    let server = tiny_server(&["--admin-port", "0"]).await;
    let (client, admin) = (server.client(), server.admin());
    assert_ne!(client.base(), admin.base());
    assert_eq!(server.get("/metrics").await.status, 404);
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 2)).await.status, 200);
    for path in ["/metrics", "/health", "/health/live", "/version"] {
        assert_eq!(admin.get(path).await.expect("an answer").status, 200, "{path}");
    }
    assert!(
        server.metrics().await.value("vllm:generation_tokens_total", "").is_some_and(|count| count > 0.0)
    );
    for path in ["/v1/models", "/nowhere"] {
        assert_eq!(admin.get(path).await.expect("an answer").status, 404, "{path}");
    }
    assert_eq!(admin.post(COMPLETIONS, &greedy("a", 2)).await.expect("an answer").status, 404);
}

/// Writes a new certificate for 127.0.0.1 and its key; gives the certificate.
fn certify(folder: &Path) -> String {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), issued.cert.pem()).expect("room on the disk");
    std::fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).expect("room on the disk");
    issued.cert.pem()
}

#[tokio::test]
async fn a_certificate_makes_it_https_and_a_new_one_is_read_at_sighup() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = certify(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let flags = ["--tls-cert", cert.to_str().expect("UTF-8"), "--tls-key", key.to_str().expect("UTF-8")];
    let flags = [&flags[..], &["--admin-port", "0"]].concat();
    let surroundings = Surroundings { environment: &[], certificate: Some(&old) };
    let mut server = Server::start_in(&surroundings, tiny_model("tied").as_os_str(), &flags).await;
    let base = server.client().base().to_owned();
    assert!(base.starts_with("https://") && server.admin().base().starts_with("https://"));
    assert_eq!(server.post(COMPLETIONS, &greedy("a", 2)).await.status, 200);
    let streamed = server.stream(COMPLETIONS, &with(greedy("a", 20), serde_json::json!({}))).await;
    assert_eq!(streamed.usage.expect("it was asked for")["completion_tokens"], 20);
    assert_eq!(server.admin().get("/metrics").await.expect("an answer").status, 200);

    let stranger = Client::new(&base).expect("a client");
    assert!(stranger.get("/health").await.is_err(), "a stranger does not trust it");
    let plain = Client::new(&base.replace("https", "http")).expect("a client");
    assert!(plain.get("/health").await.is_err(), "nothing is said in the clear");

    let new = certify(folder.path());
    server.signal("HUP");
    server.until_logged("read anew").await;
    let newcomer = Client::trusting(&base, Some(&new)).expect("a client");
    assert_eq!(newcomer.get("/health").await.expect("an answer").status, 200);
    let late = Client::trusting(&base, Some(&old)).expect("a client");
    assert!(late.get("/health").await.is_err(), "the old certificate is no longer shown");

    std::fs::write(&key, "no key").expect("room on the disk");
    server.signal("HUP");
    server.until_logged("stays in use").await;
    let again = Client::trusting(&base, Some(&new)).expect("a client");
    assert_eq!(again.get("/health").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_closes_the_connection() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = certify(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let flags = ["--tls-cert", cert.to_str().expect("UTF-8"), "--tls-key", key.to_str().expect("UTF-8")];
    let flags = [&flags[..], &["--header-timeout", "500ms"]].concat();
    let surroundings = Surroundings { environment: &[], certificate: Some(&certificate) };
    let server = Server::start_in(&surroundings, tiny_model("tied").as_os_str(), &flags).await;
    let base = server.client().base().to_owned();
    let address = base.trim_start_matches("https://");
    // Nothing at all, and the beginning of a client's first word.
    for sent in [&[][..], &[0x16, 0x03, 0x01]] {
        let mut connection = within("a connection", TcpStream::connect(address)).await.expect("a connection");
        connection.write_all(sent).await.expect("the server reads");
        let mut answer = Vec::new();
        // A connection that is reset has ended as well.
        let _ = within("the server to hang up", connection.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "nothing is said in the clear");
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    certify(folder.path());
    certify(other.path());
    let path = |folder: &Path, name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (cert, key) = (path(folder.path(), "cert.pem"), path(folder.path(), "key.pem"));
    let model = tiny_model("tied");
    let model = model.to_str().expect("UTF-8");
    for (cert, key, says) in [
        ("/no/such/cert.pem", key.as_str(), "--tls-cert /no/such/cert.pem"),
        (&cert, "/no/such/key.pem", "--tls-key /no/such/key.pem"),
        (&key, &key, "has no certificate"),
        (&cert, &path(other.path(), "key.pem"), "do not go together"),
    ] {
        let output =
            run_to_end(&["serve", "--model", model, "--port", "0", "--tls-cert", cert, "--tls-key", key])
                .await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn pages_of_allowed_web_sites_may_ask_and_of_others_may_not() {
    let server = tiny_server(&["--allowed-origin", "https://chat.example.com", "--api-key", "sk-1"]).await;
    let preflight = async |origin: &str| {
        let request = server.client().request(Method::OPTIONS, COMPLETIONS).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization,content-type");
        within("an answer", Reply::read(request)).await.expect("an answer")
    };
    let allowed = preflight("https://chat.example.com").await;
    assert_eq!(allowed.status, 200, "browsers show no key when they ask first");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://chat.example.com"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert_eq!(preflight("https://evil.example.com").await.header("access-control-allow-origin"), None);
}

//! Clients that stall: at the beginning, in a body, before their answer. None holds a connection or the engine for long.

use std::time::Duration;

use serde_json::{Value, json};
use spillway_tests::{Client, Server, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::requests::{COMPLETIONS, endless_server, endless_stream, greedy, tiny_server, with};

/// A connection that takes hardly anything unless it is read from.
async fn connect(server: &Server) -> TcpStream {
    let address = server.client().base().trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("sockets have buffers");
    within("a connection", socket.connect(address)).await.expect("a connection")
}

/// A request, as it is on the wire, with a body of `length` bytes said to follow.
fn head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: spillway\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

async fn send(connection: &mut TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).await.expect("the server reads");
}

/// Everything that comes until the server closes the connection.
async fn read_to_end(mut connection: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has ended as well.
    let _ = within("the server to hang up", connection.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected_and_holds_nobody_up() {
    let (server, _model) = endless_server(&["--client-timeout", "1s"]).await;
    let request = greedy("The stone", 300);
    let alone = server.post(COMPLETIONS, &request).await.texts();
    let body = with(endless_stream(), json!({"n": 8})).to_string();
    let mut stalled = connect(&server).await;
    send(&mut stalled, &(head("POST", COMPLETIONS, body.len()) + &body)).await;
    server.until_metric("vllm:num_requests_running", "", 8.0).await;
    for _ in 0..3 {
        assert_eq!(server.post(COMPLETIONS, &request).await.texts(), alone);
    }
    // It is still connected, and reads nothing.
    server.until_metric("vllm:request_success_total", "finished_reason=\"abort\"", 8.0).await;
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
    let text = read_to_end(stalled).await;
    assert!(text.starts_with("HTTP/1.1 200") && !text.contains("[DONE]"), "it was cut off");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_refused() {
    let server = tiny_server(&["--client-timeout", "300ms"]).await;
    for sent in ["", "{\"prompt\""] {
        let mut connection = connect(&server).await;
        send(&mut connection, &(head("POST", COMPLETIONS, 100) + sent)).await;
        let answer = read_to_end(connection).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        let error: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(error["error"]["code"], "body_stalled");
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("0.3 s")), "{error}");
    }
}

#[tokio::test]
async fn headers_that_do_not_come_close_the_connection() {
    let server = tiny_server(&["--header-timeout", "500ms"]).await;
    let slow = head("GET", "/health", 0);
    for sent in ["", "P", &slow[..slow.len() - 2]] {
        let mut connection = connect(&server).await;
        send(&mut connection, sent).await;
        let answer = read_to_end(connection).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{sent:?}: {answer}");
    }
    // The same after an answer: an idle connection is not kept for ever.
    let mut connection = connect(&server).await;
    send(&mut connection, &head("GET", "/health", 0)).await;
    assert!(read_to_end(connection).await.starts_with("HTTP/1.1 200"));
    let client = Client::new(server.client().base()).expect("a client");
    assert_eq!(client.get("/health").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let server = tiny_server(&[]).await;
    for preface in ["PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = connect(&server).await;
        send(&mut connection, preface).await;
        let answer = read_to_end(connection).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{preface:?}: {answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_closes() {
    // The test's own client keeps one open.
    let mut server = tiny_server(&["--max-connections", "2"]).await;
    let mut first = connect(&server).await;
    send(&mut first, &head("GET", "/health", 0)).await;
    let mut status = [0; 12];
    first.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
    server.until_logged("--max-connections are open").await;

    let mut second = connect(&server).await;
    send(&mut second, &head("GET", "/health", 0)).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut status)).await;
    assert!(waited.is_err(), "there was no room for it");
    drop(first);
    within("an answer", second.read_exact(&mut status)).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_and_health_is_not() {
    let (server, _model) = endless_server(&["--max-concurrent-requests", "1"]).await;
    let mut running = server.open(COMPLETIONS, &endless_stream()).await;
    within("text", running.next_text()).await.expect("a stream with text");
    for path in [COMPLETIONS, "/tokenize"] {
        let refused = server.post(path, &json!({"prompt": "a"})).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status, &error["code"]), (429, &json!("too_many_requests")), "{error}");
        assert_eq!(error["type"], "rate_limit_error");
        assert!(refused.header("retry-after").is_some());
    }
    for path in ["/health", "/metrics", "/v1/models"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    drop(running);
    let is_free = async || server.post(COMPLETIONS, &greedy("a", 1)).await.status == 200;
    server.until("room for a request", is_free).await;
}

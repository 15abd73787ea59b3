//! The server that answers at once: a thread for each connection, answers that were written before.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use serde_json::{Value, json};

use super::exchange::{Connection, Message};

/// What stands in every good answer.
pub(super) const MARKER: &str = "spillway";

/// A listening mock. Its threads end with the process.
pub(super) struct Mock {
    address: SocketAddr,
}

/// The answers, as they are on the wire.
struct Answers {
    whole: Vec<u8>,
    streamed: Vec<u8>,
    models: Vec<u8>,
    health: Vec<u8>,
    unknown: Vec<u8>,
}

impl Mock {
    pub(super) fn start(address: SocketAddr, stream_tokens: u32) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let answers = Arc::new(Answers::new(stream_tokens));
        std::thread::Builder::new().name("mock".to_owned()).spawn(move || {
            for socket in listener.incoming() {
                let Ok(connection) = socket.and_then(Connection::new) else { continue };
                let answers = Arc::clone(&answers);
                let served = std::thread::Builder::new().name("mock-connection".to_owned());
                // Without a thread for it, the connection is closed, and the request counts as failed.
                drop(served.spawn(move || serve(connection, &answers)));
            }
        })?;
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers until the other side hangs up, or breaks the protocol.
fn serve(mut connection: Connection, answers: &Answers) {
    while let Ok(Some(request)) = connection.receive(|| ()) {
        if connection.send(answers.of(&request)).is_err() || !request.keeps_connection() {
            return;
        }
    }
}

impl Answers {
    fn new(stream_tokens: u32) -> Self {
        Self {
            whole: whole("200 OK", &completion(stream_tokens)),
            streamed: streamed(stream_tokens),
            models: whole("200 OK", &json!({"object": "list", "data": [{"id": "mock", "object": "model"}]})),
            health: whole("200 OK", &json!({})),
            unknown: whole("404 Not Found", &json!({"error": {"message": "there is no such path"}})),
        }
    }

    fn of(&self, request: &Message) -> &[u8] {
        let mut words = request.head.split(' ');
        match (words.next(), words.next()) {
            (Some("post"), Some("/v1/chat/completions")) if is_stream(&request.body) => &self.streamed,
            (Some("post"), Some("/v1/chat/completions")) => &self.whole,
            (Some("get"), Some("/health")) => &self.health,
            (Some("get"), Some("/v1/models")) => &self.models,
            _ => &self.unknown,
        }
    }
}

/// Whether a request asks for a stream: a look that costs less than reading the JSON. Text in a prompt has its quotes
/// escaped, so it is not mistaken for the field.
fn is_stream(body: &[u8]) -> bool {
    let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    has(b"\"stream\":true") || has(b"\"stream\": true")
}

fn usage(tokens: u32) -> Value {
    json!({"prompt_tokens": 250, "completion_tokens": tokens, "total_tokens": 250 + tokens})
}

fn completion(tokens: u32) -> Value {
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_700_000_000, "model": "mock",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": vec![MARKER; tokens as usize].join(" ")},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(tokens),
    })
}

fn whole(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn streamed(tokens: u32) -> Vec<u8> {
    let chunk = |delta: Value, reason: Option<&str>| {
        json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "mock",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}],
        })
        .to_string()
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
    events.extend((0..tokens).map(|_| chunk(json!({"content": format!("{MARKER} ")}), None)));
    events.push(chunk(json!({}), Some("stop")));
    let mut last: Value = json!({
        "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "mock",
        "choices": [],
    });
    last["usage"] = usage(tokens);
    events.extend([last.to_string(), "[DONE]".to_owned()]);
    let pieces = events.iter().map(|event| {
        let event = format!("data: {event}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len())
    });
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{}0\r\n\r\n", pieces.collect::<String>()).into_bytes()
}

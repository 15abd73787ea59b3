//! As much of HTTP/1.1 as the SDK speaks, by hand: only so can a connection break at any byte.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Longest body of a request.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// As it stood on the wire.
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Head and body, byte for byte.
    pub(super) bytes: Vec<u8>,
}

/// An answer in one piece.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// A header's value, by its name in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads one; `None` if the client has left, or speaks something else: TLS, say.
    pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head_len = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let is_http = bytes.first().is_none_or(u8::is_ascii_uppercase);
            if !is_http || bytes.len() > MAX_HEAD_BYTES || socket.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(key, _)| key == "content-length");
        let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        if length > MAX_BODY_BYTES {
            return Ok(None);
        }
        while bytes.len() < head_len + length {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        }
        let body = bytes[head_len..].to_vec();
        let (method, path) = (method.to_owned(), path.to_owned());
        Ok(Some(Self { method, path, headers, body, bytes }))
    }
}

impl Response {
    pub(super) async fn write(&self, socket: &mut TcpStream, request_id: &str) -> io::Result<()> {
        let mut head = head(self.status, request_id);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["content-length: ", &self.body.len().to_string(), "\r\n\r\n"]);
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&self.body).await
    }
}

/// Begins an answer whose length is not known.
pub(super) async fn begin_chunks(
    socket: &mut TcpStream,
    request_id: &str,
    content_type: &str,
) -> io::Result<()> {
    let head = head(200, request_id);
    let rest = format!("content-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write_all((head + &rest).as_bytes()).await
}

pub(super) async fn write_chunk(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    socket.write_all(bytes).await?;
    socket.write_all(b"\r\n").await
}

pub(super) async fn end_chunks(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(b"0\r\n\r\n").await
}

fn head(status: u16, request_id: &str) -> String {
    format!("HTTP/1.1 {status} status\r\nx-amzn-requestid: {request_id}\r\n")
}

/// Waits until the client has left. A request that comes meanwhile is more than the SDK sends on one connection.
pub(super) async fn client_left(socket: &mut TcpStream) {
    let mut byte = [0];
    let _read = socket.read(&mut byte).await;
}

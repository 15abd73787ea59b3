//! HTTP/1.1 as far as the generator and the mock need it: one request, one answer, the connection kept.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest wait for anything of one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a head, and of a body.
const MAX_BYTES: usize = 1 << 20;
/// Bytes that are asked of a socket at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Who is asked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    address: SocketAddr,
    host: String,
    path: String,
    key: Option<String>,
}

impl Target {
    pub(super) fn new(url: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("the address {url} must begin with http://: TLS would be measured, too");
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut addresses = host.to_socket_addrs().with_context(|| format!("{host} is not known"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        let path = format!("/{path}").trim_end_matches('/').to_owned();
        Ok(Self { address, host, path, key: key.map(str::to_owned) })
    }

    /// The bytes of a request.
    pub(super) fn request(&self, body: &str) -> Vec<u8> {
        let key = self.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        format!(
            "POST {}/v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
            self.path,
            self.host,
            body.len()
        )
        .into_bytes()
    }

    pub(super) fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        Connection::new(socket)
    }
}

/// A connection with what has come on it and is not read.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// A message: its first line, its headers and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// In lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// Whether the connection goes on after it.
    pub(super) fn keeps_connection(&self) -> bool {
        self.header("connection") != Some("close")
    }
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, buffer: Vec::with_capacity(PIECE_BYTES) })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Reads a message; none if the other side hung up before one began. `on_body` is called when the first piece of the
    /// body is there.
    pub(super) fn receive(&mut self, mut on_body: impl FnMut()) -> io::Result<Option<Message>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let mut message = Message { head, body: Vec::new() };
        if message.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            self.fill(1)?;
            on_body();
            message.body = self.chunks()?;
            return Ok(Some(message));
        }
        let length = message.header("content-length").map_or(Ok(0), str::parse);
        let length = length.map_err(|_error| invalid("the content length is no number"))?;
        if length > 0 {
            self.fill(1)?;
            on_body();
        }
        message.body = self.take(length)?;
        Ok(Some(message))
    }

    fn head(&mut self) -> io::Result<Option<String>> {
        let mut searched = 0_usize;
        loop {
            let from = searched.saturating_sub(3);
            if let Some(found) = find(&self.buffer[from..], b"\r\n\r\n") {
                let head = self.take(from + found + 4)?;
                return Ok(Some(String::from_utf8_lossy(&head).to_lowercase()));
            }
            searched = self.buffer.len();
            if self.more()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads chunks to the last one.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size =
                std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
            let size = size.ok_or_else(|| invalid("the length of a chunk is no number"))?;
            if size == 0 {
                // Trailers, and the empty line after them.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.line()?;
            if body.len() > MAX_BYTES {
                return Err(invalid("the body is too long"));
            }
        }
    }

    /// Reads a line, without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(found) = find(&self.buffer, b"\r\n") {
                let mut line = self.take(found + 2)?;
                line.truncate(found);
                return Ok(line);
            }
            self.fill(self.buffer.len() + 1)?;
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.fill(count)?;
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Waits until so many bytes are there.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.buffer.len() < count {
            if count > MAX_BYTES {
                return Err(invalid("the message is too long"));
            }
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<usize> {
        if self.buffer.len() > MAX_BYTES {
            return Err(invalid("the message is too long"));
        }
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE_BYTES, 0);
        let read = self.socket.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + read.as_ref().map_or(0, |count| *count));
        read
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Sends text byte by byte, and reads messages until the other side hangs up.
    fn received(text: &'static str) -> Vec<(String, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let sender = std::thread::spawn(move || {
            let mut socket = TcpStream::connect(address).expect("it listens");
            socket.set_nodelay(true).expect("a socket");
            for byte in text.as_bytes() {
                socket.write_all(&[*byte]).expect("it is read");
            }
        });
        let (socket, _) = listener.accept().expect("a connection");
        let mut connection = Connection::new(socket).expect("a socket");
        let mut messages = Vec::new();
        while let Some(message) = connection.receive(|| ()).expect("well formed") {
            let body = String::from_utf8(message.body).expect("text");
            messages.push((message.head.lines().next().unwrap_or_default().to_owned(), body));
        }
        sender.join().expect("it sent all");
        messages
    }

    #[test]
    fn messages_are_read_one_after_the_other_however_they_are_cut() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab\
            HTTP/1.1 201 Made\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\ncde\r\n1\r\nf\r\n0\r\nt: 1\r\n\r\n\
            GET / HTTP/1.1\r\n\r\n";
        let wanted = [("http/1.1 200 ok", "ab"), ("http/1.1 201 made", "cdef"), ("get / http/1.1", "")];
        assert_eq!(received(text), wanted.map(|(head, body)| (head.to_owned(), body.to_owned())));
    }

    #[test]
    fn an_address_that_would_measure_something_else_is_refused() {
        let error = Target::new("https://127.0.0.1", None).expect_err("it is TLS");
        assert!(error.to_string().contains("http://"), "{error}");
        let deep = Target::new("http://127.0.0.1:1/deep/", Some("key")).expect("an address");
        let request = String::from_utf8(deep.request("{}")).expect("text");
        assert!(
            request.starts_with("POST /deep/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:1\r\n"),
            "{request}"
        );
        assert!(request.ends_with("authorization: Bearer key\r\ncontent-length: 2\r\n\r\n{}"), "{request}");
    }
}

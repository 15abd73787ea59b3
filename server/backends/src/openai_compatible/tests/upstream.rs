//! A server that answers each request with the next of its scripts, byte by byte as written, and keeps what it was sent.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done with a connection after a request has come.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Bytes are sent.
    Send(String),
    /// The connection is closed.
    Close,
    /// The connection is closed once that is [asked for](Upstream::close).
    CloseLater,
    /// Nothing is done until the client hangs up.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Value,
    /// Which connection it came on.
    pub(super) connection: usize,
}

/// The server. Dropping it ends it.
pub(super) struct Upstream {
    pub(super) url: String,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    NotAsked,
    Asked,
    Done,
}

struct State {
    scripts: Mutex<Vec<Vec<Act>>>,
    seen: Mutex<Vec<Seen>>,
    /// Clients that hung up while nothing was done.
    num_hung_up: watch::Sender<usize>,
    /// How far closing later has come.
    closing: watch::Sender<Closing>,
}

impl Upstream {
    /// Answers the first request by the first script, and so on; further ones by the last.
    pub(super) async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            scripts: Mutex::new(scripts.into_iter().rev().collect()),
            seen: Mutex::default(),
            num_hung_up: watch::Sender::new(0),
            closing: watch::Sender::new(Closing::NotAsked),
        });
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                connections.spawn(serve(socket, Arc::clone(&served), number));
            }
        });
        Self { url, state, _tasks: tasks }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// Closes the connection that was to be closed later.
    pub(super) async fn close(&self) {
        self.state.closing.send_replace(Closing::Asked);
        let mut closing = self.state.closing.subscribe();
        closing.wait_for(|closing| *closing == Closing::Done).await.expect("the server is there");
    }

    /// Waits until a client has hung up.
    pub(super) async fn hung_up(&self) {
        let mut count = self.state.num_hung_up.subscribe();
        count.wait_for(|count| *count > 0).await.expect("the server is there");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn script(&self) -> Vec<Act> {
        let mut scripts = lock(&self.scripts);
        if scripts.len() > 1 { scripts.pop() } else { scripts.first().cloned() }.expect("at least one script")
    }
}

async fn serve(mut socket: TcpStream, state: Arc<State>, connection: usize) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut socket, &mut buffer).await {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        lock(&state.seen).push(Seen { head, body, connection });
        for act in state.script() {
            match act {
                Act::Send(text) => {
                    if socket.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Act::Close => return,
                Act::CloseLater => {
                    let mut closing = state.closing.subscribe();
                    drop(closing.wait_for(|closing| *closing == Closing::Asked).await);
                    drop(socket);
                    state.closing.send_replace(Closing::Done);
                    return;
                }
                Act::Hang => {
                    drop(socket.read_u8().await);
                    state.num_hung_up.send_modify(|count| *count += 1);
                    return;
                }
            }
        }
    }
}

/// Reads one request; none when the client hangs up.
async fn request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                let body = buffer.split_off(end + 4);
                *buffer = rest;
                return Some((head, body));
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer in one piece.
pub(super) fn whole(status: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    vec![Act::Send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"))]
}

/// JSON under a good status.
pub(super) fn json(body: &str) -> Vec<Act> {
    whole("200 OK", "content-type: application/json\r\n", body)
}

/// The head of a stream.
pub(super) fn head() -> Act {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Act::Send(head.to_owned())
}

/// One event of a stream, in a piece of its own.
pub(super) fn event(data: &str) -> Act {
    piece(&format!("data: {data}\n\n"))
}

/// A piece of a stream.
pub(super) fn piece(text: &str) -> Act {
    Act::Send(format!("{:x}\r\n{text}\r\n", text.len()))
}

/// The end of a stream's body.
pub(super) fn end() -> Act {
    Act::Send("0\r\n\r\n".to_owned())
}

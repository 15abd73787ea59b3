//! A Bedrock on this machine: Converse and `ConverseStream` on the wire, with signatures checked, and faults by name.
//!
//! What goes wrong is chosen by the model's name, as in `fake.throttle-http` or `eu.fake.reset-after`; `fake.plain` goes
//! well. All names are in [`Behaviour`]. Tokens are words, so whoever is charged for a call can be checked to the token.
//!
//! It keeps every byte of every request, and of every call what it would be charged for, cancelled calls included. A
//! model that holds still does so until it is released or the client leaves: nothing here sleeps, but for models that
//! drip.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

mod answer;
mod behaviour;
mod connection;
mod frames;
mod http;
mod log;
mod refusal;
mod schema;
mod script;
mod signature;
mod state;
mod tls;

pub use behaviour::{Behaviour, Moment};
pub use log::{CallEnd, LoggedCall, LoggedRequest};
pub use refusal::Refusal;

use state::State;

/// A Bedrock that answers as long as it lives.
pub struct FakeBedrock {
    state: Arc<State>,
    url: String,
    /// Dropped with it, and its connections too.
    _server: JoinSet<()>,
}

impl FakeBedrock {
    /// The access key that it knows.
    pub const ACCESS_KEY_ID: &'static str = "AKIAFAKEBEDROCK";
    /// The secret of that key.
    pub const SECRET_ACCESS_KEY: &'static str = "fake/secret+for/tests";
    /// The API key that it knows.
    pub const BEARER_TOKEN: &'static str = "bedrock-api-key-fake";
    /// A session token that has run out; any other is fine.
    pub const EXPIRED_SESSION_TOKEN: &'static str = "expired";

    /// Starts one on a free port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn start() -> Self {
        let (listener, port) = listen().await;
        let state = Arc::new(State::default());
        let mut server = JoinSet::new();
        server.spawn(connection::accept(listener, Arc::clone(&state)));
        Self { state, url: format!("http://127.0.0.1:{port}"), _server: server }
    }

    /// Starts one behind a certificate that nobody trusts.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub async fn start_untrusted() -> Self {
        let (listener, port) = listen().await;
        let mut server = JoinSet::new();
        server.spawn(tls::shake_hands(listener));
        Self { state: Arc::default(), url: format!("https://127.0.0.1:{port}"), _server: server }
    }

    /// Its address, for `endpoint_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far, whatever became of it.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state.log.requests()
    }

    /// Whether any byte of any request so far belongs to these words.
    pub fn has_seen(&self, words: &str) -> bool {
        self.requests().iter().any(|request| request.contains(words))
    }

    /// Every call so far that has come to an end, in the order of their ends.
    pub fn calls(&self) -> Vec<LoggedCall> {
        self.state.log.calls()
    }

    /// Waits until so many calls have come to an end.
    pub async fn calls_ended(&self, num_calls: usize) {
        self.state.log.ended(num_calls).await;
    }

    /// Waits until so many calls hold still.
    pub async fn calls_held(&self, num_calls: usize) {
        self.state.hold.reached(num_calls).await;
    }

    /// Lets one call go on that holds still.
    pub fn release(&self) {
        self.state.hold.release();
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

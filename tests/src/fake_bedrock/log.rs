//! What was asked, byte for byte, and what each call would be charged for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use spillway_types::Usage;
use tokio::sync::watch;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Its path, as it stood on the wire.
    pub path: String,
    /// The head and the body, byte for byte.
    pub bytes: Vec<u8>,
    /// Only the body.
    pub body: Vec<u8>,
}

impl LoggedRequest {
    /// Whether these words are anywhere in it.
    pub fn contains(&self, words: &str) -> bool {
        self.bytes.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

/// A call, and what it is charged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCall {
    /// The name that the answer gave it, in `x-amzn-requestid`.
    pub request_id: String,
    /// The model.
    pub model: String,
    /// Whether it was asked for events.
    pub is_stream: bool,
    /// Tokens, as they are charged.
    pub usage: Usage,
    /// How it ended.
    pub end: CallEnd,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// With all its events.
    Complete,
    /// It broke, as its model's name says.
    Broken,
    /// The client went away.
    Cancelled,
    /// It was refused, and costs nothing.
    Refused,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Mutex<Entries>,
    num_ended: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Entries {
    requests: Vec<LoggedRequest>,
    calls: Vec<LoggedCall>,
}

impl Log {
    pub(super) fn requests(&self) -> Vec<LoggedRequest> {
        self.lock().requests.clone()
    }

    pub(super) fn calls(&self) -> Vec<LoggedCall> {
        self.lock().calls.clone()
    }

    /// Keeps a request; its number is its place.
    pub(super) fn asked(&self, request: LoggedRequest) -> usize {
        let mut entries = self.lock();
        entries.requests.push(request);
        entries.requests.len()
    }

    pub(super) fn end(&self, call: LoggedCall) {
        let mut entries = self.lock();
        entries.calls.push(call);
        self.num_ended.send_replace(entries.calls.len());
    }

    /// Waits until so many calls have ended.
    pub(super) async fn ended(&self, num_calls: usize) {
        let mut num_ended = self.num_ended.subscribe();
        num_ended.wait_for(|ended| *ended >= num_calls).await.expect("the log keeps the sender");
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

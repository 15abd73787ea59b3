//! What goes wrong with a server, and what may be done about it.
//!
//! What a server says of an error may repeat the prompt, so of its words only a code is passed on, and its message where
//! the request was at fault and the message repeats nothing of it. The statuses and codes are those of OpenAI, vLLM,
//! llama.cpp and Spillway.

mod body;
mod retry_after;
mod status;

use std::time::Duration;

use spillway_router::{BackendError, BackendId, ErrorClass, Progress, UpstreamError};

pub(super) use body::ErrorWords;
pub(super) use retry_after::retry_after;
pub(super) use status::{of_event, of_status};

/// An error before it is known whose it is, and how far the answer had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
    pub(super) request_id: Option<String>,
}

impl Fault {
    /// A fault that is named by ourselves.
    pub(super) fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            message: message.into(),
            status: None,
            retry_after: None,
            request_id: None,
        }
    }

    /// What came is not what the protocol says.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Malformed, "malformed_answer", message)
    }

    /// The error of a backend.
    pub(super) fn of(self, backend: BackendId, progress: Progress) -> BackendError {
        BackendError::Upstream(UpstreamError {
            backend,
            class: self.class,
            code: self.code,
            message: self.message,
            status: self.status,
            retry_after: self.retry_after,
            request_id: self.request_id,
            progress,
            usage: None,
        })
    }
}

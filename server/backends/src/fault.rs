//! What goes wrong with a server that is not ours, before it is known whose error it is and how far the answer had come.

use std::time::Duration;

use spillway_router::{BackendError, BackendId, ErrorClass, Progress, UpstreamError};
use spillway_types::Usage;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) class: ErrorClass,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
    /// What is billed all the same.
    pub(crate) usage: Option<Usage>,
}

impl Fault {
    /// One that is named by ourselves, and not by the server.
    pub(crate) fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            message: message.into(),
            status: None,
            retry_after: None,
            request_id: None,
            usage: None,
        }
    }

    /// One of a call that was computed to its end, and is billed.
    pub(crate) fn billed(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// As the router wants it.
    pub(crate) fn of(self, backend: &BackendId, progress: Progress) -> BackendError {
        BackendError::Upstream(UpstreamError {
            backend: backend.clone(),
            class: self.class,
            code: self.code,
            message: self.message,
            status: self.status,
            retry_after: self.retry_after,
            request_id: self.request_id,
            progress,
            usage: self.usage.map(Box::new),
        })
    }
}

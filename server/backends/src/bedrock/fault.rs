//! What goes wrong here, before it has a backend's name: a request that cannot be asked, an answer that cannot be told.

use std::time::Duration;

use spillway_router::{BackendError, BackendId, ErrorClass, Progress, UpstreamError};
use spillway_types::Usage;

/// A request that Bedrock cannot honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The field at fault, as clients write it.
    pub(super) param: &'static str,
    /// What is wrong, and how to mend it.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(param: &'static str, message: impl Into<String>) -> Self {
        Self { param, message: message.into() }
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidRequest { param: Some(refusal.param), message: refusal.message }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
    pub(super) request_id: Option<String>,
    /// What is billed all the same.
    pub(super) usage: Option<Usage>,
}

impl Fault {
    /// One that we found, without an error of Bedrock's.
    pub(super) fn new(class: ErrorClass, code: &'static str, message: impl Into<String>) -> Self {
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
    pub(super) fn billed(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// As the router wants it.
    pub(super) fn of(self, backend: &BackendId, progress: Progress) -> BackendError {
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

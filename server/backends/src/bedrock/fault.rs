//! A request that cannot be asked of Bedrock.

use spillway_router::BackendError;

pub(super) use crate::fault::Fault;

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

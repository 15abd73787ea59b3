//! Errors, in OpenAI's shape: of a whole answer as its body, of a stream as one of its events.

use serde::{Deserialize, Serialize};

/// Body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For people: what is wrong, the limit, and how to mend it.
    pub message: String,
    /// The class, as OpenAI names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field of the request at fault, if it is one.
    pub param: Option<String>,
    /// For programs: what exactly is wrong.
    pub code: Option<String>,
}

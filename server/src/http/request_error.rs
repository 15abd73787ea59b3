//! What can be wrong with a request before it reaches a model.

use std::time::Duration;

use crate::config::ByteSize;

/// What is wrong with a request, with the field at fault and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// There is nothing under this path.
    #[error("there is no `{path}` here: see README.md for the endpoints")]
    NoSuchPath { path: String },
    /// The path exists, with another method.
    #[error("`{path}` does not take {method}")]
    WrongMethod { method: String, path: String },
    /// No key was shown.
    #[error("no API key: send one of this server's as `Authorization: Bearer KEY`")]
    NoKey,
    /// Another key was shown.
    #[error("the API key is not one of this server's")]
    WrongKey,
    /// So many requests are there at once.
    #[error("{limit} requests are in flight, limit {limit} (--max-concurrent-requests): try again soon")]
    TooManyRequests { limit: u32 },
    /// The request took longer than it may.
    #[error(
        "the request took longer than its deadline of {} s: ask for fewer tokens, or allow more time (--request-timeout, x-spillway-timeout)",
        limit.as_secs_f64()
    )]
    DeadlineExceeded { limit: Duration },
    /// The model is served elsewhere, by another tokenizer.
    #[error("model `{model}` is not served here, so its tokens are not known: name one that is")]
    NoTokenizer { model: String },
    /// The client stopped in the middle of its body.
    #[error("the body stopped coming for {} s (--client-timeout)", limit.as_secs_f64())]
    BodyStalled { limit: Duration },
    /// The body is not declared as JSON.
    #[error("content-type is {found}, must be `application/json`")]
    ContentType { found: String },
    /// The body is larger than allowed.
    #[error("body is larger than {max_body}: send less, or raise --max-body")]
    BodyTooLarge { max_body: ByteSize },
    /// The connection broke while the body was read.
    #[error("body could not be read: {message}")]
    BodyUnreadable { message: String },
    /// The body is not JSON.
    #[error("body is not valid JSON: {message}")]
    Syntax { message: String },
    /// The body, or an element of it, is JSON but no object.
    #[error("{what} must be a JSON object")]
    NotAnObject { what: String },
    /// A field that must be there is not.
    #[error("`{param}` is missing")]
    Missing { param: String },
    /// A field that nobody knows.
    #[error("unknown field `{param}`")]
    UnknownField { param: String },
    /// A known field that is not offered.
    #[error("`{param}` is not supported: leave it out{or_default}")]
    UnsupportedField { param: String, or_default: String },
    /// A value of the wrong type, or not one of those allowed.
    #[error("`{param}`: {message}")]
    WrongType { param: String, message: String },
    /// A value outside its range.
    #[error("{message}")]
    Invalid { param: String, message: String },
    /// A model that is not served.
    #[error("the model `{model}` does not exist: served are {served}")]
    UnknownModel { model: String, served: String },
    /// A request without a model where several are served.
    #[error("`model` is missing: name one of {served}")]
    ModelNotNamed { served: String },
}

impl RequestError {
    /// A value outside its range; the message says value and limit.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), message: message.into() }
    }
}

//! Errors as Bedrock tells them: by a status, or by an exception in a stream.

use serde_json::json;

use super::http::Response;

/// An error of Bedrock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status that it has outside of streams.
    pub status: u16,
    /// Its name.
    pub exception: &'static str,
    /// Its words.
    pub message: &'static str,
    /// When the client may come back.
    pub(super) wait: Wait,
}

/// When the client may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Untold,
    /// In AWS's own header.
    Milliseconds(u32),
    /// In HTTP's header.
    Seconds(u32),
}

/// Every kind, with its status, its name and its words, as the real service has them.
const KINDS: [(&str, u16, &str, &str); 18] = [
    ("throttle", 429, "ThrottlingException", "Too many requests, please wait before trying again."),
    ("throttle-day", 429, "ThrottlingException", "Too many tokens per day, please wait before trying again."),
    ("not-ready", 429, "ModelNotReadyException", "The model is not ready for inference."),
    ("unavailable", 503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    ("internal", 500, "InternalServerException", "The system encountered an unexpected error."),
    ("model-timeout", 408, "ModelTimeoutException", "The model has timed out in processing the request."),
    ("model-error", 424, "ModelErrorException", "The model encountered an error."),
    (
        "model-stream-error",
        424,
        "ModelStreamErrorException",
        "The model encountered an error while streaming.",
    ),
    ("quota", 400, "ServiceQuotaExceededException", "Your request exceeds the service quota."),
    ("validation", 400, "ValidationException", "Malformed input request: 'the prompt' is not valid."),
    ("context", 400, "ValidationException", "Input is too long for requested model."),
    ("conflict", 400, "ConflictException", "The request conflicts with the current state."),
    ("access-denied", 403, "AccessDeniedException", "User: arn:aws:iam::1:user/alice is not authorized."),
    ("not-found", 404, "ResourceNotFoundException", "Could not resolve the foundation model."),
    ("expired", 403, "ExpiredTokenException", "The security token included in the request is expired"),
    ("clock-skew", 403, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier."),
    (
        "wrong-signature",
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match.",
    ),
    (
        "unknown-key",
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ),
];

impl Refusal {
    /// The error of a kind, as `throttle` or `model-error`.
    pub fn named(kind: &str) -> Option<Self> {
        let (_, status, exception, message) = KINDS.iter().find(|(name, ..)| *name == kind)?;
        Some(Self { status: *status, exception, message, wait: Wait::Untold })
    }

    /// It as an answer.
    pub(super) fn response(&self) -> Response {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-amzn-errortype", format!("{}:http://internal.amazon.com/coral/", self.exception)),
        ];
        match self.wait {
            Wait::Untold => {}
            Wait::Milliseconds(wait) => headers.push(("x-amz-retry-after", wait.to_string())),
            Wait::Seconds(wait) => headers.push(("retry-after", wait.to_string())),
        }
        let body = json!({"message": self.message}).to_string().into_bytes();
        Response { status: self.status, headers, body }
    }

    /// Its name in a stream: with a small letter.
    pub(super) fn exception_type(&self) -> String {
        let mut letters = self.exception.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        first.into_iter().chain(letters).collect()
    }
}

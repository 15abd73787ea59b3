//! Errors of servers that are not ours, by what may be done about them.
//!
//! One table says for each class how often the same server is asked again, whether another one is, and for how long the
//! first one is left alone. Facts on Bedrock's errors: its service model and the retry rules of its SDKs.

use std::time::Duration;

use spillway_types::Usage;

use crate::BackendId;

/// An error of a server that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend `{backend}`: {message} ({code}{})", request_id.as_ref().map(|id| format!(", its request id is {id}")).unwrap_or_default())]
pub struct UpstreamError {
    /// Who was asked.
    pub backend: BackendId,
    /// What may be done about it.
    pub class: ErrorClass,
    /// The provider's own word, or ours where it has none, as `ThrottlingException` or `stream_truncated`.
    pub code: String,
    /// What happened, in words that hold no key, no address of a person and no prompt.
    pub message: String,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// When it says that it may be asked again.
    pub retry_after: Option<Duration>,
    /// Its name for the request.
    pub request_id: Option<String>,
    /// Whether the client has seen any part of the answer.
    pub progress: Progress,
    /// The tokens that its provider bills all the same, where it told them.
    pub usage: Option<Box<Usage>>,
}

/// Whether any content of an answer was handed over before it broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: it can be asked again.
    NothingSent,
    /// Some: the answer cannot be replaced any more.
    ContentSent,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// It refuses more for now, since our account there has asked for too much.
    Throttled,
    /// We asked nothing, since what we count of our account there leaves no room for so large a request.
    NoRoomCounted,
    /// The model is being loaded.
    ModelNotReady,
    /// There is no capacity.
    Unavailable,
    /// It broke.
    Internal,
    /// The model took too long.
    ModelTimeout,
    /// The model failed.
    ModelError,
    /// A quota is used up for long.
    QuotaExceeded,
    /// The request is not to its liking.
    InvalidRequest,
    /// The prompt is too long for this model.
    ContextTooLong,
    /// Our credentials do not let us.
    AccessDenied,
    /// There are no credentials, or they have run out.
    Credentials,
    /// There is no such model.
    NotFound,
    /// No connection: name, route, TLS.
    Connect,
    /// The connection broke.
    ConnectionLost,
    /// No first token in time.
    FirstTokenTimeout,
    /// It fell silent in the middle of an answer.
    IdleTimeout,
    /// The whole took too long.
    TotalTimeout,
    /// What came is not what its protocol says: a bad checksum, a cut frame, no JSON.
    Malformed,
    /// A good status without an answer.
    EmptyAnswer,
    /// The answer ended without the record that closes it.
    MissingEnd,
    /// The model's output could not be read by its provider.
    MalformedOutput,
}

/// What may be done about a class of errors, before anything was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// How often the same server may be asked again.
    pub max_retries: u32,
    /// Whether another server may be asked.
    pub fall_back: FallBack,
    /// For how long this one is left alone.
    pub cool_down: CoolDown,
}

/// Whether another server may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallBack {
    /// The client must change the request.
    Never,
    /// Any other that could serve.
    Always,
    /// One with more context than the one that refused.
    ToLargerContext,
}

/// How an error counts against a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoolDown {
    /// Not at all: the request was at fault.
    None,
    /// As a failure among its calls; too many open its breaker.
    OnRatio,
    /// As such, and nothing new is sent until it said that it may be asked, or for a moment.
    Short,
    /// Nothing new is sent for minutes.
    Long,
    /// Nothing new is sent until a probe goes through; only the operator can mend it.
    UntilMended,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 22] = [
        Self::Throttled,
        Self::NoRoomCounted,
        Self::ModelNotReady,
        Self::Unavailable,
        Self::Internal,
        Self::ModelTimeout,
        Self::ModelError,
        Self::QuotaExceeded,
        Self::InvalidRequest,
        Self::ContextTooLong,
        Self::AccessDenied,
        Self::Credentials,
        Self::NotFound,
        Self::Connect,
        Self::ConnectionLost,
        Self::FirstTokenTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::Malformed,
        Self::EmptyAnswer,
        Self::MissingEnd,
        Self::MalformedOutput,
    ];

    /// The word in metrics, logs, the ledger and errors to clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "upstream_throttled",
            Self::NoRoomCounted => "upstream_quota_counted",
            Self::ModelNotReady => "upstream_model_not_ready",
            Self::Unavailable => "upstream_unavailable",
            Self::Internal => "upstream_internal_error",
            Self::ModelTimeout => "upstream_model_timeout",
            Self::ModelError => "upstream_model_error",
            Self::QuotaExceeded => "upstream_quota_exceeded",
            Self::InvalidRequest => "upstream_invalid_request",
            Self::ContextTooLong => "context_length_exceeded",
            Self::AccessDenied => "upstream_access_denied",
            Self::Credentials => "upstream_credentials",
            Self::NotFound => "upstream_model_not_found",
            Self::Connect => "upstream_connect_failed",
            Self::ConnectionLost => "upstream_connection_lost",
            Self::FirstTokenTimeout => "upstream_first_token_timeout",
            Self::IdleTimeout => "upstream_idle_timeout",
            Self::TotalTimeout => "upstream_total_timeout",
            Self::Malformed => "upstream_malformed_stream",
            Self::EmptyAnswer => "upstream_empty_answer",
            Self::MissingEnd => "upstream_missing_end",
            Self::MalformedOutput => "upstream_malformed_output",
        }
    }

    /// What may be done about it before anything was sent.
    pub fn treatment(self) -> Treatment {
        let (max_retries, fall_back, cool_down) = match self {
            Self::Throttled => (2, FallBack::Always, CoolDown::Short),
            Self::ModelNotReady => (1, FallBack::Always, CoolDown::Short),
            Self::Unavailable | Self::Internal | Self::Connect | Self::ConnectionLost => {
                (2, FallBack::Always, CoolDown::OnRatio)
            }
            Self::ModelTimeout
            | Self::ModelError
            | Self::Malformed
            | Self::EmptyAnswer
            | Self::MissingEnd
            | Self::MalformedOutput => (1, FallBack::Always, CoolDown::OnRatio),
            // A smaller request may fit, so nobody else is kept away.
            Self::NoRoomCounted => (1, FallBack::Always, CoolDown::None),
            // Waiting once more would cost the client the same time again.
            Self::FirstTokenTimeout | Self::IdleTimeout | Self::TotalTimeout => {
                (0, FallBack::Always, CoolDown::OnRatio)
            }
            Self::QuotaExceeded => (0, FallBack::Always, CoolDown::Long),
            Self::InvalidRequest => (0, FallBack::Never, CoolDown::None),
            Self::ContextTooLong => (0, FallBack::ToLargerContext, CoolDown::None),
            Self::AccessDenied | Self::Credentials | Self::NotFound => {
                (0, FallBack::Always, CoolDown::UntilMended)
            }
        };
        Treatment { max_retries, fall_back, cool_down }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_has_its_own_word() {
        let words: BTreeSet<&str> = ErrorClass::ALL.iter().map(|class| class.as_str()).collect();
        assert_eq!(words.len(), ErrorClass::ALL.len());
    }

    #[test]
    fn what_the_request_got_wrong_is_neither_repeated_nor_held_against_the_server() {
        for class in [ErrorClass::InvalidRequest, ErrorClass::ContextTooLong] {
            let treatment = class.treatment();
            assert_eq!((treatment.max_retries, treatment.cool_down), (0, CoolDown::None), "{class:?}");
        }
    }
}

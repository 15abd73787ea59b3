//! The only map from error to status, and from error to OpenAI's shape.

mod unserved;

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use spillway_api::openai::{ErrorBody, ErrorDetail};
use spillway_router::{BackendError, ErrorClass, UpstreamError};

use crate::http::answer::AnswerError;
use crate::http::request_error::RequestError;

/// Statuses of errors. There is none below 400, so an error never looks like success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorStatus {
    BadRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    InternalServerError,
    BadGateway,
    ServiceUnavailable,
    GatewayTimeout,
}

impl ErrorStatus {
    fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The class of error, in OpenAI's words.
    fn kind(self) -> &'static str {
        match self {
            Self::TooManyRequests => "rate_limit_error",
            Self::InternalServerError | Self::BadGateway | Self::ServiceUnavailable => "server_error",
            Self::GatewayTimeout => "timeout_error",
            Self::BadRequest
            | Self::Unauthorized
            | Self::RequestTimeout
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType => "invalid_request_error",
        }
    }
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: ErrorStatus,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after: Option<Duration>,
}

/// Time after which a client may try a server again that is closing: another one should be up by then.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(5);

/// Time after which a client may try again that came while too many others were there.
const RETRY_AFTER_CROWD: Duration = Duration::from_secs(1);
/// How a client is to show its key.
const WWW_AUTHENTICATE: HeaderValue = HeaderValue::from_static("Bearer realm=\"spillway\"");

impl ApiError {
    fn new(status: ErrorStatus, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, code, param: None, message: message.into(), retry_after: None }
    }

    fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The server takes nothing new.
    pub(crate) fn shutting_down() -> Self {
        Self::new(ErrorStatus::ServiceUnavailable, Some("shutting_down"), "the server is shutting down")
            .retry_after(RETRY_AFTER_SHUTDOWN)
    }

    /// The server is up but cannot serve now.
    pub(crate) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(ErrorStatus::ServiceUnavailable, Some("not_ready"), message)
    }

    /// A server that is not ours refused or broke, and nobody else could help.
    fn upstream(error: &UpstreamError, message: String) -> Self {
        use ErrorClass as C;
        let status = match error.class {
            C::InvalidRequest | C::ContextTooLong => ErrorStatus::BadRequest,
            C::Throttled | C::NoRoomCounted | C::QuotaExceeded => ErrorStatus::TooManyRequests,
            C::ModelNotReady | C::Unavailable | C::Connect => ErrorStatus::ServiceUnavailable,
            C::ModelTimeout | C::FirstTokenTimeout | C::IdleTimeout | C::TotalTimeout => {
                ErrorStatus::GatewayTimeout
            }
            C::Internal
            | C::ModelError
            | C::AccessDenied
            | C::Credentials
            | C::NotFound
            | C::ConnectionLost
            | C::Malformed
            | C::EmptyAnswer
            | C::MissingEnd
            | C::MalformedOutput => ErrorStatus::BadGateway,
        };
        let told = Self::new(status, Some(error.class.as_str()), message);
        match error.retry_after {
            Some(retry_after) => told.retry_after(retry_after),
            None => told,
        }
    }

    /// Something is wrong in the server itself.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorStatus::InternalServerError, Some("internal_error"), message)
    }

    /// The body, for an answer or for an event of a stream.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: self.message.clone(),
                kind: self.status.kind().to_owned(),
                param: self.param.clone(),
                code: self.code.map(str::to_owned),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status.code(), Json(self.body())).into_response();
        if self.status == ErrorStatus::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, WWW_AUTHENTICATE);
        }
        if let Some(retry_after) = self.retry_after {
            let secs = retry_after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(secs.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        use RequestError as E;
        let message = error.to_string();
        let bad = |code| Self::new(ErrorStatus::BadRequest, code, message.clone());
        match error {
            E::NoTokenizer { .. } => bad(Some("no_tokenizer")).param("model"),
            E::NoSuchPath { .. } => Self::new(ErrorStatus::NotFound, Some("unknown_url"), message),
            E::WrongMethod { .. } => {
                Self::new(ErrorStatus::MethodNotAllowed, Some("method_not_allowed"), message)
            }
            E::NoKey | E::WrongKey => Self::new(ErrorStatus::Unauthorized, Some("invalid_api_key"), message),
            E::TooManyRequests { .. } => {
                Self::new(ErrorStatus::TooManyRequests, Some("too_many_requests"), message)
                    .retry_after(RETRY_AFTER_CROWD)
            }
            E::DeadlineExceeded { .. } => {
                Self::new(ErrorStatus::GatewayTimeout, Some("deadline_exceeded"), message)
            }
            E::BodyStalled { .. } => Self::new(ErrorStatus::RequestTimeout, Some("body_stalled"), message),
            E::ContentType { .. } => {
                Self::new(ErrorStatus::UnsupportedMediaType, Some("unsupported_media_type"), message)
            }
            E::BodyTooLarge { .. } => {
                Self::new(ErrorStatus::PayloadTooLarge, Some("body_too_large"), message)
            }
            E::BodyUnreadable { .. } => bad(Some("body_unreadable")),
            E::Syntax { .. } | E::NotAnObject { .. } => bad(Some("invalid_json")),
            E::Missing { param } => bad(Some("missing_required_parameter")).param(param),
            E::UnknownModel { .. } => {
                Self::new(ErrorStatus::NotFound, Some("model_not_found"), message).param("model")
            }
            E::ModelNotNamed { .. } => bad(Some("missing_required_parameter")).param("model"),
            E::UnknownField { param } => bad(Some("unknown_parameter")).param(param),
            E::UnsupportedField { param, .. } => bad(Some("unsupported_parameter")).param(param),
            E::WrongType { param, .. } => bad(Some("invalid_type")).param(param),
            E::Invalid { param, .. } => bad(Some("invalid_value")).param(param),
        }
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        match error {
            BackendError::PromptTooLong { .. } => {
                Self::new(ErrorStatus::BadRequest, Some("context_length_exceeded"), message)
            }
            BackendError::InvalidRequest { param, .. } => {
                let error = Self::new(ErrorStatus::BadRequest, Some("invalid_value"), message);
                Self { param: param.map(str::to_owned), ..error }
            }
            BackendError::QueueFull { retry_after, .. } | BackendError::QueueTooLong { retry_after, .. } => {
                Self::new(ErrorStatus::TooManyRequests, Some("queue_full"), message).retry_after(retry_after)
            }
            BackendError::ShuttingDown { .. } => Self::shutting_down(),
            BackendError::Upstream(error) => Self::upstream(&error, message),
            BackendError::Failed { source, .. } => {
                tracing::error!(error = %message, cause = %source, "backend failed");
                Self::new(ErrorStatus::InternalServerError, Some("backend_failed"), message)
            }
        }
    }
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Backend(error) => error.into(),
            AnswerError::Aborted => Self::shutting_down(),
            AnswerError::Failed { .. } | AnswerError::Protocol { .. } => Self::internal(error.to_string()),
        }
    }
}

//! From errors of Bedrock and its SDK to classes by what may be done about them.
//!
//! Messages hold no prompt, no account and no person: of Bedrock's own words only those about the request's shape are
//! told, without what they quote. Sources: the service model of Bedrock's runtime, its troubleshooting pages.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::{CredentialsError, TokenError};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::DispatchFailure;
use aws_smithy_types::event_stream::{Message, RawMessage};
use hyper_util::client::legacy;
use spillway_router::ErrorClass;

use super::fault::Fault;

/// Longest part of a message of others that is told.
const MAX_TOLD_CHARS: usize = 240;

/// Words by which models say that a prompt does not fit, in lower case.
const TOO_LONG: [&str; 9] = [
    "input is too long",
    "prompt is too long",
    "input length and `max_tokens`",
    "input length and max_tokens",
    "exceed context limit",
    "maximum context length",
    "context window",
    "input tokens exceeded",
    "too many input tokens",
];

/// Words by which Bedrock says that there is no such model for us, under a status that blames the request.
const NO_MODEL: [&str; 3] = ["model identifier is invalid", "on-demand throughput isn", "inference profile"];

/// An error before the answer began, or of an answer that comes in one body.
pub(super) fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let request_id = error.raw_response().and_then(RequestId::request_id).map(ToOwned::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let retry_after = error.raw_response().and_then(retry_after);
    let fault = match error {
        // A good status with a body that has another form.
        SdkError::ServiceError(_) if status.is_some_and(|status| status < 300) => not_readable(),
        SdkError::ServiceError(context) => {
            let told = context.err();
            of_service(told.code().unwrap_or_default(), status, told.message().unwrap_or_default())
        }
        SdkError::DispatchFailure(failure) => of_dispatch(failure),
        SdkError::TimeoutError(_) => {
            Fault::new(ErrorClass::Connect, "connect_timeout", "no connection in time")
        }
        SdkError::ResponseError(_) if is_transport(error) => lost(),
        SdkError::ResponseError(_) => not_readable(),
        // The only one left is that the SDK could not build the request.
        _ => Fault::new(ErrorClass::Internal, "request_not_built", "the SDK could not build the request"),
    };
    Fault { status, retry_after, request_id, ..fault }
}

fn not_readable() -> Fault {
    malformed("answer_not_readable", "the answer is not Bedrock's JSON")
}

/// An error in the middle of a stream.
pub(super) fn of_frame(error: &SdkError<ConverseStreamOutputError, RawMessage>) -> Fault {
    let told = match error {
        SdkError::ServiceError(context) => context.err().message().unwrap_or_default(),
        _ => "",
    };
    let raw = match error {
        SdkError::ServiceError(context) => Some(context.raw()),
        SdkError::ResponseError(context) => Some(context.raw()),
        _ => return lost(),
    };
    match raw {
        Some(RawMessage::Decoded(message)) => match exception(message) {
            Some(name) => of_service(&name, None, told),
            None => malformed("frame_not_readable", "an event of the answer cannot be read"),
        },
        Some(RawMessage::Invalid(Some(_))) => {
            malformed("frame_truncated", "the answer ended in the middle of an event")
        }
        _ => malformed("frame_corrupt", "an event of the answer has a wrong checksum or length"),
    }
}

fn malformed(code: &'static str, message: &str) -> Fault {
    Fault::new(ErrorClass::Malformed, code, message)
}

fn lost() -> Fault {
    Fault::new(
        ErrorClass::ConnectionLost,
        "connection_lost",
        "the connection broke before the answer was complete",
    )
}

/// The exception that a frame names, with a capital as in the service model.
fn exception(message: &Message) -> Option<String> {
    let header = message
        .headers()
        .iter()
        .find(|header| matches!(header.name().as_str(), ":exception-type" | ":error-code"))?;
    let mut letters = header.value().as_string().ok()?.as_str().chars().take(MAX_TOLD_CHARS);
    let first = letters.next()?.to_ascii_uppercase();
    Some(std::iter::once(first).chain(letters).collect())
}

/// An error that Bedrock tells: by its name, else by its status.
fn of_service(name: &str, status: Option<u16>, told: &str) -> Fault {
    let class = class_of(name, status, &told.to_ascii_lowercase());
    let code = if name.is_empty() {
        status.map_or_else(|| class.as_str().to_owned(), |status| format!("http_{status}"))
    } else {
        name.chars().take(MAX_TOLD_CHARS).collect()
    };
    Fault { code, ..Fault::new(class, "", words(class, told)) }
}

fn class_of(name: &str, status: Option<u16>, told: &str) -> ErrorClass {
    match name {
        // A day's quota does not come back in a moment.
        "ThrottlingException" if told.contains("per day") => ErrorClass::QuotaExceeded,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => ErrorClass::Throttled,
        "ModelNotReadyException" => ErrorClass::ModelNotReady,
        "ServiceUnavailableException" | "ServiceUnavailable" => ErrorClass::Unavailable,
        "InternalServerException" | "InternalFailure" | "InternalServerError" => ErrorClass::Internal,
        "ModelTimeoutException" => ErrorClass::ModelTimeout,
        "ModelErrorException" | "ModelStreamErrorException" => ErrorClass::ModelError,
        "ServiceQuotaExceededException" => ErrorClass::QuotaExceeded,
        "ValidationException" | "ConflictException" => of_validation(told),
        "AccessDeniedException" | "OptInRequired" => ErrorClass::AccessDenied,
        "ResourceNotFoundException" => ErrorClass::NotFound,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "NotAuthorized" => ErrorClass::Credentials,
        _ => of_status(status),
    }
}

fn of_validation(told: &str) -> ErrorClass {
    let says = |words: &[&str]| words.iter().any(|words| told.contains(words));
    if says(&TOO_LONG) {
        ErrorClass::ContextTooLong
    } else if says(&NO_MODEL) {
        ErrorClass::NotFound
    } else if told.contains("operation not allowed") {
        ErrorClass::AccessDenied
    } else {
        ErrorClass::InvalidRequest
    }
}

fn of_status(status: Option<u16>) -> ErrorClass {
    match status {
        Some(401) => ErrorClass::Credentials,
        Some(403) => ErrorClass::AccessDenied,
        Some(404) => ErrorClass::NotFound,
        Some(408) => ErrorClass::ModelTimeout,
        Some(424) => ErrorClass::ModelError,
        Some(429) => ErrorClass::Throttled,
        Some(400..=499) => ErrorClass::InvalidRequest,
        Some(502..=504) => ErrorClass::Unavailable,
        Some(500..=599) => ErrorClass::Internal,
        Some(_) | None => ErrorClass::Malformed,
    }
}

/// What is told of an error.
fn words(class: ErrorClass, told: &str) -> String {
    let own = match class {
        ErrorClass::Throttled => "the account's quota for this model is used up for now",
        ErrorClass::ModelNotReady => "the model is being loaded",
        ErrorClass::Unavailable => "Bedrock has no capacity for this model now",
        ErrorClass::Internal => "Bedrock broke",
        ErrorClass::ModelTimeout => "the model took too long",
        ErrorClass::ModelError => "the model failed",
        ErrorClass::QuotaExceeded => "a quota of the account is used up for long",
        ErrorClass::ContextTooLong => {
            "the prompt and what may be generated do not fit into the model's context"
        }
        ErrorClass::AccessDenied => {
            "the credentials do not allow this model: check the policy and the model's access"
        }
        ErrorClass::Credentials => "the credentials are wrong or have run out, or this machine's clock is",
        ErrorClass::NotFound => "there is no such model in this region, or only by an inference profile",
        ErrorClass::InvalidRequest => {
            let told = without_quotes(told);
            return if told.is_empty() { "Bedrock refuses the request".to_owned() } else { told };
        }
        ErrorClass::NoRoomCounted
        | ErrorClass::Connect
        | ErrorClass::ConnectionLost
        | ErrorClass::FirstTokenTimeout
        | ErrorClass::IdleTimeout
        | ErrorClass::TotalTimeout
        | ErrorClass::Malformed
        | ErrorClass::EmptyAnswer
        | ErrorClass::MissingEnd
        | ErrorClass::MalformedOutput => "Bedrock answered with an error that is not known here",
    };
    own.to_owned()
}

/// Bedrock's words about a request, without what they quote of it and without names of AWS's resources.
fn without_quotes(told: &str) -> String {
    let mut kept = String::new();
    let mut quote = None;
    for letter in told.chars() {
        match quote {
            Some(mark) if letter == mark => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"' | '`') => {
                quote = Some(letter);
                kept.push('…');
            }
            None => kept.push(letter),
        }
    }
    let words = kept.split_whitespace().map(|word| if word.contains("arn:") { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_TOLD_CHARS).collect()
}

/// A request that did not get through.
fn of_dispatch(failure: &DispatchFailure) -> Fault {
    let error: &(dyn Error + 'static) = match failure.as_connector_error() {
        Some(error) => error,
        None => return lost(),
    };
    if find::<CredentialsError>(error).is_some() || find::<TokenError>(error).is_some() {
        return no_credentials();
    }
    if failure.is_timeout() {
        return Fault::new(ErrorClass::Connect, "connect_timeout", "no connection in time");
    }
    let client = find::<legacy::Error>(error);
    if find::<ResolveDnsError>(error).is_some() || client.is_some_and(legacy::Error::is_connect) {
        let reason: String = innermost(error).to_string().chars().take(MAX_TOLD_CHARS).collect();
        return Fault::new(ErrorClass::Connect, "connect_failed", format!("no connection: {reason}"));
    }
    // What is no error of the connection comes from the steps before it: who we are, and how we sign.
    if client.is_none() && failure.is_other() && !is_transport(error) {
        return no_credentials();
    }
    lost()
}

fn no_credentials() -> Fault {
    let message = "no credentials could be had: set AWS's environment, a profile or a role";
    Fault::new(ErrorClass::Credentials, "no_credentials", message)
}

/// Whether a connection is at fault.
fn is_transport(error: &(dyn Error + 'static)) -> bool {
    find::<hyper::Error>(error).is_some() || find::<std::io::Error>(error).is_some()
}

/// The first error of a kind in a chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// When Bedrock says that it may be asked again: in milliseconds by its own header, else in seconds.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let number = |name| response.headers().get(name)?.trim().parse::<u64>().ok();
    let milliseconds = number("x-amz-retry-after").map(Duration::from_millis);
    milliseconds.or_else(|| number("retry-after").map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_of_bedrock_has_its_class() {
        for (name, status, told, class) in [
            ("ThrottlingException", 429, "Too many requests", ErrorClass::Throttled),
            ("ThrottlingException", 429, "Too many tokens per day, please wait", ErrorClass::QuotaExceeded),
            ("ModelNotReadyException", 429, "", ErrorClass::ModelNotReady),
            ("ServiceUnavailableException", 503, "", ErrorClass::Unavailable),
            ("InternalServerException", 500, "", ErrorClass::Internal),
            ("ModelTimeoutException", 408, "", ErrorClass::ModelTimeout),
            ("ModelErrorException", 424, "", ErrorClass::ModelError),
            ("ModelStreamErrorException", 424, "", ErrorClass::ModelError),
            ("ServiceQuotaExceededException", 400, "", ErrorClass::QuotaExceeded),
            ("ValidationException", 400, "Malformed input request", ErrorClass::InvalidRequest),
            (
                "ValidationException",
                400,
                "Input is too long for requested model.",
                ErrorClass::ContextTooLong,
            ),
            ("ValidationException", 400, "The provided model identifier is invalid.", ErrorClass::NotFound),
            ("ConflictException", 400, "", ErrorClass::InvalidRequest),
            ("AccessDeniedException", 403, "", ErrorClass::AccessDenied),
            ("ExpiredTokenException", 403, "", ErrorClass::Credentials),
            ("InvalidSignatureException", 403, "Signature expired", ErrorClass::Credentials),
            ("ResourceNotFoundException", 404, "", ErrorClass::NotFound),
            ("", 502, "", ErrorClass::Unavailable),
            ("SomethingNew", 500, "", ErrorClass::Internal),
            ("", 418, "", ErrorClass::InvalidRequest),
        ] {
            assert_eq!(of_service(name, Some(status), told).class, class, "{name} {told}");
        }
    }

    #[test]
    fn messages_hold_nothing_that_was_quoted_and_no_account() {
        let told = "Value 'my secret' at 'messages.1' is wrong for arn:aws:bedrock:us-east-1:123:model/x";
        let fault = of_service("ValidationException", Some(400), told);
        assert_eq!(fault.message, "Value … at … is wrong for …");
        let told =
            "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: bedrock:InvokeModel";
        let fault = of_service("AccessDeniedException", Some(403), told);
        assert!(!fault.message.contains("alice"), "{}", fault.message);
    }
}

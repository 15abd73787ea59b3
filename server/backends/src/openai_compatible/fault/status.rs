//! What the status of an answer, or the error in a stream, means.

use http::StatusCode;
use http::header::HeaderMap;
use spillway_router::ErrorClass;
use spillway_types::Prompt;

use super::{ErrorWords, Fault, retry_after};

/// Longest name of a request that is taken from a server.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// Words by which servers say that a prompt is too long.
const TOO_LONG: [&str; 6] = [
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "maximum model length",
    "available context size",
    "prompt is too long",
];
/// Words by which servers say that a quota is used up for long.
const USED_UP: [&str; 3] = ["insufficient_quota", "billing_hard_limit", "credit balance"];

/// An answer that is not 200. `prompt` is what it answers.
pub(in crate::openai_compatible) fn of_status(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    prompt: &Prompt,
) -> Fault {
    let words = ErrorWords::read(body);
    let class = class_of(status.as_u16(), &words);
    let message = match class {
        // Only the client can mend these, so it must hear how.
        ErrorClass::InvalidRequest | ErrorClass::ContextTooLong => words
            .quotable(prompt)
            .map_or_else(|| plain(status), |said| format!("it refused the request: {said}")),
        _ if status.is_redirection() => {
            "it sent us to another address, which is never followed: correct its `url`".to_owned()
        }
        _ => plain(status),
    };
    Fault {
        class,
        code: words.code.unwrap_or_else(|| format!("http_{}", status.as_u16())),
        message,
        status: Some(status.as_u16()),
        retry_after: retry_after(headers),
        request_id: request_id(headers),
        usage: None,
    }
}

/// What the server calls the request, if that is short and text.
pub(in crate::openai_compatible) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (id.len() <= MAX_REQUEST_ID_BYTES).then(|| id.to_owned())
}

fn plain(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("an unknown status");
    format!("it answered {} ({reason})", status.as_u16())
}

/// An error in a stream that had begun well. Its words are not passed on, since the prompt is no longer at hand.
pub(in crate::openai_compatible) fn of_event(words: &ErrorWords) -> Fault {
    let class = match words.status {
        Some(status) => class_of(status, words),
        None => class_of_words(words).unwrap_or(ErrorClass::Internal),
    };
    let code = words.code.clone().unwrap_or_else(|| "error_event".to_owned());
    Fault { status: words.status, ..Fault::new(class, &code, "its stream broke off with an error event") }
}

fn class_of(status: u16, words: &ErrorWords) -> ErrorClass {
    let says = |known: &[&str]| known.iter().any(|word| words.all.contains(word));
    match status {
        400 | 413 | 422 if says(&TOO_LONG) => ErrorClass::ContextTooLong,
        402 => ErrorClass::QuotaExceeded,
        429 if says(&USED_UP) => ErrorClass::QuotaExceeded,
        429 => ErrorClass::Throttled,
        401 => ErrorClass::Credentials,
        403 => ErrorClass::AccessDenied,
        // Neither the path nor the model can be mended by asking again; a redirect is never followed.
        300..=399 | 404 | 405 | 410 => ErrorClass::NotFound,
        408 | 504 | 524 => ErrorClass::ModelTimeout,
        503 if words.all.contains("loading model") => ErrorClass::ModelNotReady,
        409 | 425 | 502 | 503 | 529 => ErrorClass::Unavailable,
        // llama.cpp's word for what a model cannot do.
        400..=499 | 501 => ErrorClass::InvalidRequest,
        500..=599 => ErrorClass::Internal,
        // Neither an answer nor an error.
        _ => ErrorClass::Malformed,
    }
}

/// The class of an error that has no status, by OpenAI's types and the names of vLLM's.
fn class_of_words(words: &ErrorWords) -> Option<ErrorClass> {
    let known: [(&str, ErrorClass); 9] = [
        ("insufficient_quota", ErrorClass::QuotaExceeded),
        ("rate_limit", ErrorClass::Throttled),
        ("ratelimit", ErrorClass::Throttled),
        ("context_length_exceeded", ErrorClass::ContextTooLong),
        ("invalid_request", ErrorClass::InvalidRequest),
        ("badrequest", ErrorClass::InvalidRequest),
        ("timeout_error", ErrorClass::ModelTimeout),
        ("shutting_down", ErrorClass::Unavailable),
        ("overloaded", ErrorClass::Unavailable),
    ];
    let (_, class) = known.into_iter().find(|(word, _)| words.all.contains(word))?;
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, body: &str) -> Fault {
        let status = StatusCode::from_u16(status).expect("a status");
        of_status(
            status,
            &HeaderMap::new(),
            body.as_bytes(),
            &Prompt::Text("the prompt of the client".into()),
        )
    }

    #[test]
    fn statuses_have_the_class_by_which_they_are_treated() {
        use ErrorClass as C;
        for (status, body, class) in [
            (400, "", C::InvalidRequest),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, C::ContextTooLong),
            (400, r#"{"error":{"message":"This model's maximum context length is 8"}}"#, C::ContextTooLong),
            (
                400,
                r#"{"error":{"code":400,"message":"..","type":"exceed_context_size_error"}}"#,
                C::ContextTooLong,
            ),
            (401, "", C::Credentials),
            (403, "", C::AccessDenied),
            (404, "", C::NotFound),
            (307, "", C::NotFound),
            (408, "", C::ModelTimeout),
            (429, "", C::Throttled),
            (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, C::QuotaExceeded),
            (500, "<html>", C::Internal),
            (501, "", C::InvalidRequest),
            (502, "", C::Unavailable),
            (503, "", C::Unavailable),
            (503, r#"{"error":{"code":503,"message":"Loading model"}}"#, C::ModelNotReady),
            (204, "", C::Malformed),
        ] {
            assert_eq!(fault(status, body).class, class, "{status} {body}");
        }
    }

    #[test]
    fn a_client_hears_what_it_got_wrong_unless_that_repeats_its_prompt() {
        let said = fault(400, r#"{"error":{"message":"`top_k` must be positive","code":"invalid_value"}}"#);
        assert_eq!(said.message, "it refused the request: `top_k` must be positive");
        assert_eq!(said.code, "invalid_value");
        let repeated = fault(400, r#"{"error":{"message":"bad: the prompt of the client"}}"#);
        assert_eq!((&*repeated.message, &*repeated.code), ("it answered 400 (Bad Request)", "http_400"));
        let broken = fault(500, r#"{"error":{"message":"CUDA error at line 7"}}"#);
        assert_eq!(broken.message, "it answered 500 (Internal Server Error)");
    }

    #[test]
    fn an_error_event_is_known_by_its_number_or_its_words() {
        for (event, class) in [
            (r#"{"error":{"message":"x","type":"BadRequestError","code":400}}"#, ErrorClass::InvalidRequest),
            (
                r#"{"error":{"message":"x","type":"server_error","code":"shutting_down"}}"#,
                ErrorClass::Unavailable,
            ),
            (r#"{"error":{"message":"x","type":"rate_limit_error"}}"#, ErrorClass::Throttled),
            (r#"{"error":{"message":"x","type":"server_error","code":null}}"#, ErrorClass::Internal),
            ("gibberish", ErrorClass::Internal),
        ] {
            assert_eq!(of_event(&ErrorWords::read(event.as_bytes())).class, class, "{event}");
        }
    }
}

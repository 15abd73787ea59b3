//! From a request's bytes to its wire type: content type, size, syntax, fields, types, in this order.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use spillway_api::fields::Object;
use spillway_api::openai::{ChatRequest, CompletionRequest, GenerationRequest};
use spillway_api::tokenize::{DetokenizeRequest, TokenizeRequest};
use tokio::time::timeout;

use crate::http::fields;
use crate::http::request_error::RequestError;
use crate::http::state::HttpLimits;

/// Time for which the rest of a body that is too large is read, so that its client comes to read the answer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bodies above this are parsed apart, so that other connections need not wait.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// A wire type that is the body of a request.
pub(crate) trait RequestBody: DeserializeOwned {
    /// Its rows in the table of fields.
    const OBJECT: Object;
    /// Fields that must be there.
    const REQUIRED: &'static [&'static str];
}

impl RequestBody for ChatRequest {
    const OBJECT: Object = Object::Chat;
    const REQUIRED: &'static [&'static str] = &["messages"];
}

impl RequestBody for CompletionRequest {
    const OBJECT: Object = Object::Completions;
    const REQUIRED: &'static [&'static str] = &["prompt"];
}

impl RequestBody for TokenizeRequest {
    const OBJECT: Object = Object::Tokenize;
    const REQUIRED: &'static [&'static str] = &[];
}

impl RequestBody for DetokenizeRequest {
    const OBJECT: Object = Object::Detokenize;
    const REQUIRED: &'static [&'static str] = &["tokens"];
}

/// The body of a request that generates.
#[derive(Debug)]
pub(crate) struct Body<T> {
    /// The endpoint's own fields.
    pub(crate) own: T,
    /// The fields that both endpoints have.
    pub(crate) generation: GenerationRequest,
}

/// What is read from a body: one wire type, or two that share it.
pub(crate) trait FromBody: Sized {
    /// Reads it from the fields of a body, after the table of fields has been applied to them.
    fn from_fields(fields: Map<String, Value>) -> Result<Self, RequestError>;
}

impl<T: RequestBody> FromBody for T {
    fn from_fields(fields: Map<String, Value>) -> Result<Self, RequestError> {
        wire_type(&checked_fields::<T>(fields)?)
    }
}

impl<T: RequestBody> FromBody for Body<T> {
    fn from_fields(fields: Map<String, Value>) -> Result<Self, RequestError> {
        let object = checked_fields::<T>(fields)?;
        Ok(Self { own: wire_type(&object)?, generation: wire_type(&object)? })
    }
}

/// Reads and checks the body of a request.
pub(crate) async fn body<T: FromBody + Send + 'static>(
    request: Request,
    limits: &HttpLimits,
) -> Result<T, RequestError> {
    checked(request, limits, Ok).await
}

/// Reads the body of a request, and makes of it what `make` makes: for a large one that, too, is done apart.
pub(crate) async fn checked<T: FromBody + Send + 'static, U: Send + 'static>(
    request: Request,
    limits: &HttpLimits,
    make: impl FnOnce(T) -> Result<U, RequestError> + Send + 'static,
) -> Result<U, RequestError> {
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    let bytes = read(body, limits).await?;
    if bytes.len() <= MAX_INLINE_BYTES {
        return make(parse(&bytes)?);
    }
    match tokio::task::spawn_blocking(move || make(parse(&bytes)?)).await {
        Ok(made) => made,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The server has ended, and with it whoever could read this.
            Err(error) => Err(RequestError::BodyUnreadable { message: error.to_string() }),
        },
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), RequestError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(RequestError::ContentType { found: "missing".to_owned() });
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json { Ok(()) } else { Err(RequestError::ContentType { found: format!("`{text}`") }) }
}

async fn read(mut body: HttpBody, limits: &HttpLimits) -> Result<Vec<u8>, RequestError> {
    let HttpLimits { max_body, client_timeout, .. } = *limits;
    let max_bytes = usize::try_from(max_body.bytes()).unwrap_or(usize::MAX);
    let mut limited = Limited::new(&mut body, max_bytes);
    let mut bytes = Vec::new();
    loop {
        let frame = timeout(client_timeout, limited.frame()).await;
        match frame.map_err(|_| RequestError::BodyStalled { limit: client_timeout })? {
            None => return Ok(bytes),
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &**data)),
            Some(Err(error)) if error.is::<LengthLimitError>() => break,
            Some(Err(error)) => return Err(RequestError::BodyUnreadable { message: error.to_string() }),
        }
    }
    discard(body).await;
    Err(RequestError::BodyTooLarge { max_body })
}

/// Reads on for a while, keeping nothing: a connection that is closed while its client is still sending is reset, and
/// the answer is lost on the way.
async fn discard(mut body: HttpBody) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // A client that sends for longer than this loses the answer, but not the server its patience.
    drop(tokio::time::timeout(DISCARD_TIMEOUT, rest).await);
}

/// Parses JSON and reads the body.
fn parse<T: FromBody>(bytes: &[u8]) -> Result<T, RequestError> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| RequestError::Syntax { message: error.to_string() })?;
    match value {
        Value::Object(fields) => T::from_fields(fields),
        _ => Err(RequestError::NotAnObject { what: "body".to_owned() }),
    }
}

/// Applies the table of fields.
fn checked_fields<T: RequestBody>(mut fields: Map<String, Value>) -> Result<Value, RequestError> {
    fields::check(T::OBJECT, &mut fields)?;
    match T::REQUIRED.iter().find(|param| !fields.contains_key(**param)) {
        Some(&param) => Err(RequestError::Missing { param: param.to_owned() }),
        None => Ok(Value::Object(fields)),
    }
}

fn wire_type<T: DeserializeOwned>(object: &Value) -> Result<T, RequestError> {
    serde_path_to_error::deserialize(object).map_err(|error| RequestError::WrongType {
        param: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

#[cfg(test)]
mod tests;

//! Asks for a key, where keys are set: as OpenAI's clients send it, or in `x-api-key`. Endpoints get to know whose it is
//! as a [`ClientKey`] among the request's extensions.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{ApiKeys, ClientKey};
use crate::http::error::ApiError;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// The scheme of `Authorization`, with the blank after it.
const BEARER: &[u8] = b"bearer ";

/// Lets a request through that shows one of the keys, or any if no keys are set.
pub(crate) async fn check(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let client = match &state.routing().api_keys {
        None => Ok(ClientKey::default()),
        Some(keys) => client(keys, request.headers()),
    };
    match client {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(refusal) => ApiError::from(refusal).into_response(),
    }
}

/// Whose key a request shows.
fn client(keys: &ApiKeys, headers: &HeaderMap) -> Result<ClientKey, RequestError> {
    let key = shown(headers).ok_or(RequestError::NoKey)?;
    keys.find(key).cloned().ok_or(RequestError::WrongKey)
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_key_is_read_from_either_header() {
        for (name, value, key) in [
            ("authorization", "Bearer sk-1", Some("sk-1")),
            ("authorization", "bearer  sk-1 ", Some("sk-1")),
            ("authorization", "Basic c2stMQ==", None),
            ("authorization", "sk-1", None),
            ("authorization", "", None),
            ("x-api-key", "sk-1", Some("sk-1")),
            ("cookie", "sk-1", None),
        ] {
            let headers = HeaderMap::from_iter([(
                name.parse().expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )]);
            assert_eq!(shown(&headers), key.map(str::as_bytes), "{name}: {value}");
        }
    }
}

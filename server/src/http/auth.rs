//! Asks for a key, where keys are set: as OpenAI's clients send it, or in `x-api-key`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// The scheme of `Authorization`, with the blank after it.
const BEARER: &[u8] = b"bearer ";

/// Lets a request through that shows one of the keys.
pub(crate) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(keys) = &state.parts().api_keys else { return next.run(request).await };
    let refusal = match shown(request.headers()) {
        Some(key) if keys.accept(key) => return next.run(request).await,
        Some(_) => RequestError::WrongKey,
        None => RequestError::NoKey,
    };
    ApiError::from(refusal).into_response()
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

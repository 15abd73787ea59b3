//! Keeps a panic to the request in which it happens: its client hears of an error, and nobody else of anything.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::response::{IntoResponse, Response};
use futures::stream::StreamExt;
use spillway_router::{BackendError, BackendId, TokenStream};
use spillway_types::GenerateEvent;

use crate::http::error::ApiError;

/// The answer of an endpoint that panicked. The panic itself is in the log.
pub(crate) fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    ApiError::internal("the request ran into a bug of the server: see its log").into_response()
}

/// The events of `stream`; a panic while one is made becomes the last of them, as an error.
pub(crate) fn contain(stream: TokenStream, backend: BackendId) -> TokenStream {
    let mut tokens_sent = 0;
    // What panicked is not asked again: it is dropped.
    let events = AssertUnwindSafe(stream).catch_unwind().map(move |event| {
        if let Ok(Ok(GenerateEvent::Delta(delta))) = &event {
            tokens_sent += delta.tokens.len() as u32;
        }
        event.unwrap_or_else(|_panic| {
            let source = "a panic while text was made of tokens".into();
            Err(BackendError::Failed { backend: backend.clone(), tokens_sent, source })
        })
    });
    Box::pin(events)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream;
    use spillway_types::{AnswerToken, TextDelta, TokenId};

    use super::*;

    #[test]
    fn a_panic_becomes_the_last_event() {
        let token = || AnswerToken { token: Some(TokenId(1)), logprob: 0.0, detail: None };
        let delta = move || TextDelta { choice: 0, text: "a".to_owned(), tokens: vec![token()] };
        let events = stream::iter(0..5).map(move |index| {
            assert_ne!(index, 2, "a planted panic");
            Ok(GenerateEvent::Delta(delta()))
        });
        let events: Vec<_> = block_on(contain(Box::pin(events), BackendId::new("local")).collect());
        assert_eq!(events.len(), 3);
        assert!(matches!(&events[2], Err(BackendError::Failed { tokens_sent: 2, .. })), "{:?}", events[2]);
    }
}

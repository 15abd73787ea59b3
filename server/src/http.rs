//! The HTTP side: one file for each endpoint, one map from error to status, one table of limits.
//!
//! # Invariants
//!
//! - Every answer that is an error has OpenAI's shape, and its status comes from [`error`] alone.
//! - Every answer has an `x-request-id`.
//! - A request that is dropped, by a client that hangs up, drops its stream of tokens, which aborts it.
//!
//! In a request's path: the first and the last room.

mod answer;
mod chat;
mod completions;
mod cut_off;
mod detokenize;
mod error;
mod extract;
mod fields;
mod generation;
mod health;
mod ids;
mod joined;
mod lifecycle;
mod logprobs;
mod metrics;
mod models;
mod observe;
mod params;
mod request_error;
mod sse;
mod state;
mod tokenize;
mod version;

use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};

pub(crate) use lifecycle::Lifecycle;
pub(crate) use state::{AppState, HttpParts, ModelText, SamplingDefaults, ServedModel, WallClock};

use crate::http::error::ApiError;
use crate::http::request_error::RequestError;

/// The service with all its endpoints.
pub(crate) fn service(state: AppState) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(detokenize::detokenize))
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/metrics", get(metrics::render))
        .route("/version", get(version::version))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

async fn no_such_path(uri: Uri) -> ApiError {
    RequestError::NoSuchPath { path: uri.path().to_owned() }.into()
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    RequestError::WrongMethod { method: method.to_string(), path: uri.path().to_owned() }.into()
}

#[cfg(test)]
mod tests;

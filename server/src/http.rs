//! The HTTP side: one file for each endpoint, one map from error to status, one table of limits.
//!
//! # Invariants
//!
//! - Every answer that is an error has OpenAI's shape, and its status comes from [`error`] alone.
//! - Every answer has an `x-request-id`.
//! - Where keys are set, nothing but `/health` and `/health/live` answers without one, on any port. With
//!   origins set, OPTIONS is answered on every path before a key is asked for: by which origins may ask, and nothing else.
//! - A request that is dropped, by a client that hangs up, drops its stream of tokens, which aborts it.
//!
//! In a request's path: the first and the last room.

mod answer;
mod auth;
mod capacity;
mod chat;
mod client;
mod completions;
mod contained;
mod cors;
mod cut_off;
mod deadline;
mod detokenize;
mod error;
mod explain;
mod extract;
mod fields;
mod followed;
mod generation;
mod health;
mod ids;
mod joined;
mod lifecycle;
mod logprobs;
mod metrics;
mod models;
mod needs;
mod observe;
mod params;
mod request_error;
mod route_request;
mod sse;
mod state;
mod texts;
mod thoughts;
mod tokenize;
mod version;

use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use lifecycle::Lifecycle;
pub(crate) use state::{
    AppState, HttpLimits, HttpParts, MetricsPlace, ModelText, Routing, SamplingDefaults, ServedModel,
    WallClock,
};

use crate::http::error::ApiError;
use crate::http::request_error::RequestError;

/// The service with all its endpoints; what is for administrators only if there is no other port for it.
pub(crate) fn service(state: AppState) -> Router {
    let work = Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(detokenize::detokenize))
        .layer(middleware::from_fn_with_state(state.clone(), deadline::limit))
        .layer(middleware::from_fn_with_state(state.clone(), capacity::limit));
    let mut guarded = Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route("/version", get(version::version))
        .merge(work);
    if state.parts().metrics_place == MetricsPlace::EveryPort {
        guarded = guarded.merge(administration());
    }
    around(guarded, state)
}

/// The service of the administrators' port.
pub(crate) fn admin_service(state: AppState) -> Router {
    let guarded = administration().route("/version", get(version::version));
    around(guarded, state)
}

/// What is for administrators: on their port if they have one, else on the only one.
fn administration() -> Router<AppState> {
    Router::new()
        .route("/metrics", get(metrics::render))
        .route("/admin/route/explain", post(explain::explain))
}

/// Adds what every port has: /health, open to all; a key before everything else; a name for every request, and an end to
/// panics. The layers are listed from the inside out.
fn around(guarded: Router<AppState>, state: AppState) -> Router {
    let guarded = guarded
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), auth::check));
    Router::new()
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .method_not_allowed_fallback(wrong_method)
        .merge(guarded)
        .layer(CatchPanicLayer::custom(contained::panicked))
        .layer(option_layer(cors::layer(&state.parts().allowed_origins)))
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

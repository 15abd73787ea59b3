//! `GET /health`: may requests come? `GET /health/live`: does the process answer?

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use spillway_router::BackendHealth;

use crate::http::error::ApiError;
use crate::http::state::AppState;

/// Ready: loaded, not closing, and at least one backend without an overdue step.
pub(crate) async fn ready(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    if state.parts().lifecycle.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let mut faults = Vec::new();
    for (id, snapshot) in state.routing().router.snapshots() {
        match snapshot.health {
            BackendHealth::Ready => return Ok(Json(json!({"status": "ok"}))),
            BackendHealth::Overdue { since } => {
                faults.push(format!("the step of backend `{id}` has run for {:.1} s", since.as_secs_f64()));
            }
            BackendHealth::Draining => faults.push(format!("backend `{id}` is shutting down")),
            BackendHealth::Unreachable { reason } => {
                faults.push(format!("backend `{id}` cannot be reached: {reason}"));
            }
            BackendHealth::Stopped { reason } => faults.push(format!("backend `{id}` has stopped: {reason}")),
        }
    }
    Err(ApiError::not_ready(faults.join("; ")))
}

/// Live: the process answers, whatever its backends do.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

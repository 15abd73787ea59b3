//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::state::AppState;

/// All metrics in Prometheus' text format.
pub(crate) async fn render(State(state): State<AppState>) -> impl IntoResponse {
    let text = state.parts().metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

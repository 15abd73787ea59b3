//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use spillway_api::openai::{Model, ModelList};

use crate::http::error::ApiError;
use crate::http::generation::served_model;
use crate::http::state::{AppState, ServedModel};

/// Lists what is served.
pub(crate) async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let data = state.parts().models.iter().map(wire).collect();
    Json(ModelList { object: "list".to_owned(), data })
}

/// Tells of one model.
pub(crate) async fn retrieve(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    served_model(&state, Some(&id)).map(|model| Json(wire(model)))
}

fn wire(model: &ServedModel) -> Model {
    Model {
        id: model.id.as_str().to_owned(),
        object: "model".to_owned(),
        created: model.created,
        owned_by: "spillway".to_owned(),
        max_model_len: model.max_model_len,
    }
}

//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use spillway_api::openai::{Model, ModelList};
use spillway_types::ModelId;

use crate::http::error::ApiError;
use crate::http::generation::served_model;
use crate::http::state::{AppState, ServedModel};

/// Lists what is served, under every name.
pub(crate) async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let routing = state.routing();
    let data = routing.models.iter().flat_map(|model| model.names().map(|name| wire(name, model))).collect();
    Json(ModelList { object: "list".to_owned(), data })
}

/// Tells of one model.
pub(crate) async fn retrieve(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let routing = state.routing();
    let model = served_model(&routing, Some(&id))?;
    Ok(Json(wire(&ModelId::new(id), model)))
}

fn wire(name: &ModelId, model: &ServedModel) -> Model {
    Model {
        id: name.as_str().to_owned(),
        object: "model".to_owned(),
        created: model.created,
        owned_by: "spillway".to_owned(),
        root: model.id.as_str().to_owned(),
        max_model_len: model.max_model_len,
    }
}

//! `POST /detokenize`.

use axum::Json;
use axum::extract::{Request, State};
use spillway_api::tokenize::{DetokenizeRequest, DetokenizeResponse};
use spillway_types::TokenId;

use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::generation::served_model;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// The text of tokens, special tokens included.
pub(crate) async fn detokenize(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let body: DetokenizeRequest = extract::body(request, &state.parts().limits).await?;
    let routing = state.routing();
    let model = served_model(&routing, body.model.as_deref())?;
    let text = model.text.clone().ok_or_else(|| RequestError::NoTokenizer { model: model.id.to_string() })?;
    let tokens: Vec<TokenId> = body.tokens.into_iter().map(TokenId).collect();
    let prompt = tokio::task::spawn_blocking(move || text.detokenize(&tokens))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(Json(DetokenizeResponse { prompt }))
}

//! `POST /tokenize`.

use axum::Json;
use axum::extract::{Request, State};
use spillway_api::tokenize::{TokenizeRequest, TokenizeResponse};
use spillway_types::{ChatPrompt, Prompt};

use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::generation::served_model;
use crate::http::params::conversation;
use crate::http::request_error::RequestError;
use crate::http::state::AppState;

/// The tokens of a text or of a conversation, as generating from it would compute them.
pub(crate) async fn tokenize(
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let body: TokenizeRequest = extract::body(request, &state.parts().limits).await?;
    let routing = state.routing();
    let model = served_model(&routing, body.model.as_deref())?;
    let prompt = match (body.prompt, body.messages) {
        (Some(text), None) => Prompt::Text(text),
        (None, Some(messages)) => Prompt::Chat(only_text(conversation(messages)?)?),
        (None, None) => return Err(RequestError::Missing { param: "prompt".to_owned() }.into()),
        (Some(_), Some(_)) => {
            let message = "`prompt` and `messages` exclude each other: send one of them";
            return Err(RequestError::invalid("prompt", message).into());
        }
    };
    let text = model.text.clone().ok_or_else(|| RequestError::NoTokenizer { model: model.id.to_string() })?;
    let tokens = tokio::task::spawn_blocking(move || text.tokenize(&prompt))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(Json(TokenizeResponse {
        count: tokens.len(),
        max_model_len: model.max_model_len,
        tokens: tokens.into_iter().map(|token| token.0).collect(),
    }))
}

/// A picture is no tokens of the vocabulary.
fn only_text(chat: ChatPrompt) -> Result<ChatPrompt, RequestError> {
    if chat.messages.iter().all(|message| message.images.is_empty()) {
        return Ok(chat);
    }
    Err(RequestError::invalid("messages", "pictures in `messages` cannot be tokenised: send text only"))
}

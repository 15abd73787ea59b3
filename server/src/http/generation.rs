//! What both generating endpoints do between reading a request and sending its answer: route, admit, name.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use futures::future::try_join_all;
use futures::stream::StreamExt;
use spillway_router::{BackendId, Routed, Router, TokenStream};
use spillway_types::{GenerateEvent, GenerateRequest, ModelId, Prompt, SamplingParams, Seed, Usd};

use crate::http::answer::{Calls, Costs, Expected, Source};
use crate::http::contained::contain;
use crate::http::cut_off;
use crate::http::error::ApiError;
use crate::http::joined::join;
use crate::http::needs::asked_fields;
use crate::http::params::GenerationParams;
use crate::http::request_error::RequestError;
use crate::http::route_request::RoutedPrompt;
use crate::http::state::{AppState, Routing, ServedModel};

/// Header that names who served.
const BACKEND_HEADER: HeaderName = HeaderName::from_static("x-spillway-backend");
/// Header that says why.
const ROUTE_HEADER: HeaderName = HeaderName::from_static("x-spillway-route");
/// Header that names the model there, in the backend's own words.
const MODEL_HEADER: HeaderName = HeaderName::from_static("x-spillway-model");
/// Header that says what a whole answer cost; a stream tells it in a comment of the same name.
pub(super) const COST_HEADER: HeaderName = HeaderName::from_static("x-spillway-cost-usd");

/// Name of a request: the client's `x-request-id`, or one that was made for it.
#[derive(Debug, Clone)]
pub(crate) struct RequestName(pub(crate) Arc<str>);

/// What a request asks of a model, checked and ready to be routed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work {
    /// Served name of the model.
    pub(crate) model: ModelId,
    /// What to go on from: at least one prompt.
    pub(crate) prompts: Vec<RoutedPrompt>,
    pub(crate) params: GenerationParams,
    /// What the answer begins with, if it echoes a message.
    pub(crate) echo: String,
}

/// An admitted request: every prompt of it is queued, and nothing was sent yet.
pub(crate) struct Generation {
    /// Where the answer comes from.
    pub(crate) source: Source,
    /// Who serves, and why.
    pub(crate) route: Route,
}

/// Who serves a request, and why.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    backend: BackendId,
    model: ModelId,
    header: String,
}

impl Route {
    fn of(routed: &Routed) -> Self {
        let header = routed.decision.header(routed.reason, routed.attempt);
        Self { backend: routed.backend.clone(), model: routed.model.clone(), header }
    }

    /// Tells the client in headers.
    pub(crate) fn write_to(&self, response: &mut Response) {
        let headers = response.headers_mut();
        for (name, value) in [
            (BACKEND_HEADER, self.backend.as_str()),
            (MODEL_HEADER, self.model.as_str()),
            (ROUTE_HEADER, &self.header),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Tells what a whole answer cost, if that is known.
pub(crate) fn write_cost(response: &mut Response, cost: Option<Usd>) {
    if let Some(value) = cost.and_then(|cost| HeaderValue::try_from(cost.to_string()).ok()) {
        response.headers_mut().insert(COST_HEADER, value);
    }
}

/// What an answer and its chunks say of themselves.
#[derive(Debug, Clone)]
pub(crate) struct AnswerHead {
    /// Name of the answer.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Served name of the model.
    pub(crate) model: String,
}

impl AnswerHead {
    /// Names an answer after its request.
    pub(crate) fn new(state: &AppState, prefix: &str, name: &RequestName, model: &ModelId) -> Self {
        Self {
            id: format!("{prefix}-{}", name.0),
            created: (state.parts().clock)(),
            model: model.as_str().to_owned(),
        }
    }
}

/// The model that a request names, or the only one.
pub(crate) fn served_model<'a>(
    routing: &'a Routing,
    name: Option<&str>,
) -> Result<&'a ServedModel, RequestError> {
    let models = &routing.models;
    let served = || {
        let names = models.iter().flat_map(ServedModel::names).map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    match (name, models.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(RequestError::ModelNotNamed { served: served() }),
        (Some(name), _) => models
            .iter()
            .find(|model| model.names().any(|known| known.as_str() == name))
            .ok_or_else(|| RequestError::UnknownModel { model: name.to_owned(), served: served() }),
    }
}

/// Routes every prompt and waits until all are admitted, so that a refusal still gets its own status.
///
/// If one is refused, the others are aborted.
pub(crate) async fn start(
    state: &AppState,
    router: &Router,
    model: &ModelId,
    prompts: Vec<RoutedPrompt>,
    params: &GenerationParams,
) -> Result<Generation, ApiError> {
    if state.parts().lifecycle.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let expected = expected(&prompts, params);
    // All at once: each waits for the engine's next step. The first refusal drops the others.
    let admissions = prompts.into_iter().map(|RoutedPrompt { route, prompt }| async move {
        let asked = asked_fields(params, &prompt);
        let served = router.serve(&route, request(state, model, prompt, params)).await;
        served.map_err(|error| ApiError::of_route(error, &asked))
    });
    let admitted = tokio::select! {
        admitted = try_join_all(admissions) => admitted?,
        // An engine that hangs would never say so itself.
        () = state.parts().lifecycle.until_cut_off() => return Err(ApiError::shutting_down()),
    };
    let route = admitted.first().map(Route::of);
    let route = route.ok_or_else(|| ApiError::internal("a request without prompts was let through"))?;
    let costs = Costs::new(admitted.iter().map(|routed| routed.cost.clone()));
    let mut streams: Vec<TokenStream> = admitted.into_iter().map(|routed| routed.stream).collect();
    for stream in &mut streams {
        match stream.next().await {
            Some(Ok(GenerateEvent::Started { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(_)) | None => return Err(ApiError::internal("the backend did not start the answer")),
        }
    }
    let joined = contain(join(streams, expected.num_choices_each), route.backend.clone());
    let stream = cut_off::until(joined, state.parts().lifecycle.until_cut_off(), route.backend.clone());
    Ok(Generation { source: Source { stream, expected, costs }, route })
}

fn expected(prompts: &[RoutedPrompt], params: &GenerationParams) -> Expected {
    let offers = |routed: &RoutedPrompt| matches!(&routed.prompt, Prompt::Chat(chat) if chat.tools.is_some());
    Expected {
        num_prompts: prompts.len() as u32,
        num_choices_each: params.sampling.n.get(),
        output: params.output,
        calls: if prompts.iter().any(offers) { Calls::Offered } else { Calls::NotOffered },
    }
}

fn request(state: &AppState, model: &ModelId, prompt: Prompt, params: &GenerationParams) -> GenerateRequest {
    let request_id = state.ids().request_id();
    GenerateRequest {
        request_id,
        model: model.clone(),
        prompt,
        truncation: params.truncation,
        params: SamplingParams {
            seed: params.seed.map_or_else(|| state.ids().seed(request_id), Seed),
            ..params.sampling.clone()
        },
        format: params.format.clone(),
        reasoning_effort: params.reasoning_effort,
        priority: params.priority,
        cache_salt: params.cache_salt.clone(),
    }
}

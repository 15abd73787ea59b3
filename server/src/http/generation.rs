//! What both generating endpoints do between reading a request and sending its answer: route, admit, name.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use futures::future::try_join_all;
use futures::stream::StreamExt;
use spillway_router::{BackendId, Label, LabelSource, Needs, Privacy, RouteRequest, Router, TokenStream};
use spillway_types::{GenerateEvent, GenerateRequest, ModelId, OutputFormat, Prompt, SamplingParams, Seed};

use crate::http::answer::Expected;
use crate::http::contained::contain;
use crate::http::cut_off;
use crate::http::error::ApiError;
use crate::http::joined::join;
use crate::http::params::GenerationParams;
use crate::http::request_error::RequestError;
use crate::http::state::{AppState, Routing, ServedModel};

/// Header that names who served.
const BACKEND_HEADER: HeaderName = HeaderName::from_static("x-spillway-backend");
/// Header that says why.
const ROUTE_HEADER: HeaderName = HeaderName::from_static("x-spillway-route");

/// Name of a request: the client's `x-request-id`, or one that was made for it.
#[derive(Debug, Clone)]
pub(crate) struct RequestName(pub(crate) Arc<str>);

/// An admitted request: every prompt of it is queued, and nothing was sent yet.
pub(crate) struct Generation {
    /// Events of all prompts.
    pub(crate) stream: TokenStream,
    /// What will come on it.
    pub(crate) expected: Expected,
    /// Who serves, and why.
    pub(crate) route: Route,
}

/// Who serves a request, and why.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    backend: BackendId,
    header: String,
}

impl Route {
    /// Tells the client in headers.
    pub(crate) fn write_to(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Ok(backend) = HeaderValue::try_from(self.backend.as_str()) {
            headers.insert(BACKEND_HEADER, backend);
        }
        if let Ok(header) = HeaderValue::try_from(&self.header) {
            headers.insert(ROUTE_HEADER, header);
        }
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
) -> Result<&'a ServedModel, ApiError> {
    let models = &routing.models;
    let served = || {
        let names = models.iter().flat_map(ServedModel::names).map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    match (name, models.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(RequestError::ModelNotNamed { served: served() }.into()),
        (Some(name), _) => models
            .iter()
            .find(|model| model.names().any(|known| known.as_str() == name))
            .ok_or_else(|| RequestError::UnknownModel { model: name.to_owned(), served: served() }.into()),
    }
}

/// Routes every prompt and waits until all are admitted, so that a refusal still gets its own status.
///
/// If one is refused, the others are aborted.
pub(crate) async fn start(
    state: &AppState,
    router: &Router,
    name: &RequestName,
    model: &ModelId,
    prompts: Vec<Prompt>,
    params: &GenerationParams,
) -> Result<Generation, ApiError> {
    if state.parts().lifecycle.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let num_choices_each = params.sampling.n.get();
    let expected = Expected { num_prompts: prompts.len() as u32, num_choices_each, output: params.output };
    // All at once: each waits for the engine's next step. The first refusal drops the others.
    let asked = route_request(name, model);
    let admissions =
        prompts.into_iter().map(|prompt| router.serve(&asked, request(state, model, prompt, params)));
    let mut route = None;
    let mut streams = Vec::with_capacity(admissions.len());
    let admitted = tokio::select! {
        admitted = try_join_all(admissions) => admitted?,
        // An engine that hangs would never say so itself.
        () = state.parts().lifecycle.until_cut_off() => return Err(ApiError::shutting_down()),
    };
    for routed in admitted {
        let header = routed.decision.header(routed.reason, routed.attempt);
        route.get_or_insert(Route { backend: routed.backend, header });
        streams.push(routed.stream);
    }
    for stream in &mut streams {
        match stream.next().await {
            Some(Ok(GenerateEvent::Started { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(_)) | None => return Err(ApiError::internal("the backend did not start the answer")),
        }
    }
    let route = route.ok_or_else(|| ApiError::internal("a request without prompts was let through"))?;
    let joined = contain(join(streams, num_choices_each), route.backend.clone());
    let stream = cut_off::until(joined, state.parts().lifecycle.until_cut_off(), route.backend.clone());
    Ok(Generation { stream, expected, route })
}

fn route_request(name: &RequestName, model: &ModelId) -> RouteRequest {
    RouteRequest {
        name: Arc::clone(&name.0),
        model: model.clone(),
        key: None,
        label: Label { privacy: Privacy::Private, source: LabelSource::Route },
        needs: Needs::default(),
        text: Arc::from(""),
        max_cost: None,
        slo_ttft: None,
        session: None,
        tags: Vec::new(),
        is_stream: false,
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
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: params.priority,
        cache_salt: params.cache_salt.clone(),
    }
}

//! `POST /admin/route/explain`: what would be decided about a chat or completion request now. Nothing is served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Map, Value};
use spillway_api::openai::{ChatRequest, CompletionRequest};
use spillway_api::route::{
    ExplainedCandidate, ExplainedExclusion, ExplainedNeeds, ExplainedScore, RouteExplanation,
};
use spillway_router::{Considered, Decision, Excluded, Exclusion, NoCandidate, RouteRequest, Score, Verdict};

use crate::http::client::Client;
use crate::http::error::ApiError;
use crate::http::extract::{self, Body, FromBody};
use crate::http::request_error::RequestError;
use crate::http::route_request::RoutedPrompt;
use crate::http::state::AppState;
use crate::http::{chat, completions};

/// The body of either generating endpoint: a completion has a `prompt`, a chat has none.
enum EitherBody {
    Chat(Box<Body<ChatRequest>>),
    Completion(Box<Body<CompletionRequest>>),
}

impl FromBody for EitherBody {
    fn from_fields(fields: Map<String, Value>) -> Result<Self, RequestError> {
        if fields.contains_key("prompt") {
            Body::from_fields(fields).map(Box::new).map(Self::Completion)
        } else {
            Body::from_fields(fields).map(Box::new).map(Self::Chat)
        }
    }
}

/// Explains the decision. Of several prompts, which are decided about one by one, it is the first.
pub(crate) async fn explain(
    State(state): State<AppState>,
    client: Client,
    request: Request,
) -> Result<Json<RouteExplanation>, ApiError> {
    let routing = state.routing();
    let check = {
        let routing = Arc::clone(&routing);
        move |body: EitherBody| match body {
            EitherBody::Chat(body) => chat::work(&routing, &client, *body),
            EitherBody::Completion(body) => completions::work(&routing, &client, *body),
        }
    };
    let work = extract::checked(request, &state.parts().limits, check).await?;
    let first = work.prompts.into_iter().next();
    let RoutedPrompt { route, .. } =
        first.ok_or_else(|| ApiError::internal("a request without prompts was let through"))?;
    match routing.router.explain(&route) {
        Ok(decision) => Ok(Json(explained(&route, &decision))),
        Err(NoCandidate::AllExcluded { excluded, .. }) => {
            let name = routing.router.route(&route.model).map(|route| route.id.to_string());
            Ok(Json(unserved(&route, name, &excluded)))
        }
        Err(error @ NoCandidate::UnknownModel { .. }) => Err(ApiError::no_candidate(error, &[])),
    }
}

fn explained(request: &RouteRequest, decision: &Decision) -> RouteExplanation {
    RouteExplanation {
        reason: Some(decision.reason.as_str().to_owned()),
        plan: decision.plan.iter().map(ToString::to_string).collect(),
        variant: decision.variant.as_ref().map(ToString::to_string),
        gain: decision.gain.map(|gain| gain.expected),
        gain_threshold: decision.gain.map(|gain| gain.threshold),
        slo_ttft_ms: decision.slo_ttft.map(|goal| u64::try_from(goal.as_millis()).unwrap_or(u64::MAX)),
        candidates: decision.considered.iter().map(candidate).collect(),
        ..unserved(request, Some(decision.route.to_string()), &[])
    }
}

/// The explanation where nobody could serve.
fn unserved(request: &RouteRequest, route: Option<String>, excluded: &[Excluded]) -> RouteExplanation {
    let left_out = |excluded: &Excluded| ExplainedCandidate {
        backend: excluded.id.to_string(),
        model: None,
        excluded: excluded.exclusions.iter().map(exclusion).collect(),
        score: None,
    };
    RouteExplanation {
        route,
        privacy: request.label.privacy.as_str().to_owned(),
        privacy_said_by: request.label.source.to_string(),
        reason: None,
        plan: Vec::new(),
        variant: None,
        gain: None,
        gain_threshold: None,
        slo_ttft_ms: None,
        needs: ExplainedNeeds {
            features: request.needs.features.iter().map(|feature| feature.as_str().to_owned()).collect(),
            prompt_tokens: request.needs.prompt_tokens,
            max_tokens: request.needs.max_tokens,
        },
        candidates: excluded.iter().map(left_out).collect(),
    }
}

fn candidate(considered: &Considered) -> ExplainedCandidate {
    let (excluded, score) = match &considered.verdict {
        Verdict::Excluded(exclusions) => (exclusions.iter().map(exclusion).collect(), None),
        Verdict::Able(score) => (Vec::new(), Some(explained_score(score))),
    };
    ExplainedCandidate {
        backend: considered.id.to_string(),
        model: Some(considered.model.to_string()),
        excluded,
        score,
    }
}

fn exclusion(exclusion: &Exclusion) -> ExplainedExclusion {
    ExplainedExclusion { code: exclusion.as_str().to_owned(), message: exclusion.to_string() }
}

fn explained_score(score: &Score) -> ExplainedScore {
    ExplainedScore {
        ttft_ms: score.ttft.map(|ttft| ttft.as_secs_f64() * 1e3),
        needs_preemption: score.needs_preemption,
        cost_usd: score.cost.as_dollars(),
        looks_too_long: score.looks_too_long,
    }
}

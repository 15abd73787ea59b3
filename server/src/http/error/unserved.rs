//! Requests that no backend takes: for what they ask, or only for now.
//!
//! What no waiting would change is a 400 that names the field or the header to change; all else is a 503.

use std::collections::BTreeSet;

use spillway_router::{Excluded, Exclusion, Feature, NoCandidate, RouteError};

use super::{ApiError, ErrorStatus};
use crate::http::needs::AskedField;

impl ApiError {
    /// Nobody serves the request, which asks for special things by these fields.
    pub(crate) fn of_route(error: RouteError, asked: &[AskedField]) -> Self {
        match error {
            RouteError::NoCandidate(error) => Self::no_candidate(error, asked),
            RouteError::Backend(error) => error.into(),
        }
    }

    /// Nobody can serve the request, which asks for special things by these fields.
    pub(crate) fn no_candidate(error: NoCandidate, asked: &[AskedField]) -> Self {
        let message = error.to_string();
        match error {
            NoCandidate::UnknownModel { .. } => {
                Self::new(ErrorStatus::NotFound, Some("model_not_found"), message).param("model")
            }
            NoCandidate::AllExcluded { excluded, .. } => all_excluded(&excluded, message, asked),
        }
    }
}

fn all_excluded(excluded: &[Excluded], message: String, asked: &[AskedField]) -> ApiError {
    let all = |is: &dyn Fn(&Exclusion) -> bool| excluded.iter().all(|one| one.exclusions.iter().any(is));
    if all(&is_lasting) {
        return lasting(excluded, message, asked);
    }
    if all(&|exclusion| matches!(exclusion, Exclusion::Draining)) {
        return ApiError::shutting_down();
    }
    let exclusions = excluded.iter().flat_map(|one| &one.exclusions);
    let left = exclusions.filter_map(|exclusion| match exclusion {
        Exclusion::CoolingDown { left } => Some(*left),
        _ => None,
    });
    match left.min() {
        Some(left) => ApiError::not_ready(message).retry_after(left),
        None => ApiError::not_ready(message),
    }
}

/// Whether waiting would not change it.
fn is_lasting(exclusion: &Exclusion) -> bool {
    match exclusion {
        Exclusion::Private { .. }
        | Exclusion::Region { .. }
        | Exclusion::ProfilePrefix { .. }
        | Exclusion::Lacks(_)
        | Exclusion::AnswerTooLong { .. }
        | Exclusion::TooExpensive { .. } => true,
        Exclusion::Stopped { .. }
        | Exclusion::Draining
        | Exclusion::Unreachable { .. }
        | Exclusion::CoolingDown { .. } => false,
    }
}

/// The request must change: told by the first of what it could do without.
fn lasting(excluded: &[Excluded], message: String, asked: &[AskedField]) -> ApiError {
    let bad = |code, message| ApiError::new(ErrorStatus::BadRequest, Some(code), message);
    let any = |is: fn(&Exclusion) -> bool| excluded.iter().flat_map(|one| &one.exclusions).any(is);
    if let Some(feature) = lacking(excluded) {
        let field =
            asked.iter().find(|(asked, _)| *asked == feature).map_or(feature.param(), |(_, field)| field);
        let code = if feature == Feature::Chat { "no_chat_template" } else { "unsupported_parameter" };
        return bad(code, format!("{} ({message})", mend(feature, field))).param(field);
    }
    if any(|exclusion| matches!(exclusion, Exclusion::TooExpensive { .. })) {
        return bad("max_cost_exceeded", message);
    }
    if any(|exclusion| matches!(exclusion, Exclusion::AnswerTooLong { .. })) {
        return bad("invalid_value", format!("{message}: lower `max_tokens`")).param("max_tokens");
    }
    bad("not_permitted", message)
}

/// What the client can do about a feature that nobody offers.
fn mend(feature: Feature, field: &str) -> String {
    match feature {
        Feature::Chat => {
            "this model takes no conversations: send a text prompt to /v1/completions instead".to_owned()
        }
        Feature::Completion => {
            "this model takes conversations only: send `messages` to /v1/chat/completions instead".to_owned()
        }
        Feature::TokenPrompt => "`prompt` as token ids is not supported: send it as text".to_owned(),
        Feature::Images => "pictures in `messages` are not supported: send text only".to_owned(),
        Feature::Tools
        | Feature::JsonObject
        | Feature::JsonSchema
        | Feature::Logprobs
        | Feature::PromptLogprobs
        | Feature::Seed
        | Feature::Penalties
        | Feature::TokenRules
        | Feature::SeveralChoices
        | Feature::ReasoningEffort
        | Feature::ContinuedMessage => format!("`{field}` is not supported: leave it out"),
    }
}

/// What is asked for and lacks: rather what nobody has than what some have.
fn lacking(excluded: &[Excluded]) -> Option<Feature> {
    let exclusions = excluded.iter().flat_map(|one| &one.exclusions);
    let mut all = exclusions.filter_map(|exclusion| match exclusion {
        Exclusion::Lacks(features) => Some(features),
        _ => None,
    });
    let first = all.next()?;
    let common = all.fold(first.clone(), |common: BTreeSet<Feature>, features| &common & features);
    common.first().or(first.first()).copied()
}

//! A router over the scripted backend: it tells what it was asked, and its books take everything.

use std::sync::{Arc, Mutex};

use spillway_router::{
    AttemptFailure, Backend, BackendId, BoxFuture, Call, CallEnd, Capabilities, Decision, Feature, Ledger,
    LedgerError, Observer, OpenCall, Privacy, Reason, Route, RouteId, RouteRequest, Router, RouterParts,
    RouterSettings,
};
use spillway_types::ModelId;

use crate::routing::TokioRuntime;

/// Everything that a backend may be able to do.
const ALL_FEATURES: [Feature; 15] = [
    Feature::Chat,
    Feature::Completion,
    Feature::TokenPrompt,
    Feature::Tools,
    Feature::Images,
    Feature::JsonObject,
    Feature::JsonSchema,
    Feature::Logprobs,
    Feature::PromptLogprobs,
    Feature::Seed,
    Feature::Penalties,
    Feature::TokenRules,
    Feature::SeveralChoices,
    Feature::ReasoningEffort,
    Feature::ContinuedMessage,
];

/// A backend that can do everything but these.
pub(in crate::http::tests) fn all_but(lacking: &[Feature]) -> Capabilities {
    let features = ALL_FEATURES.into_iter().filter(|feature| !lacking.contains(feature));
    Capabilities::inside(ModelId::new("tiny"), features)
}

/// The requests that were decided about.
#[derive(Default)]
pub(in crate::http::tests) struct Heard(Mutex<Vec<RouteRequest>>);

impl Heard {
    pub(in crate::http::tests) fn all(&self) -> Vec<RouteRequest> {
        self.0.lock().expect("no test panics with it").clone()
    }
}

impl Observer for Heard {
    fn decided(&self, request: &RouteRequest, _: &Decision) {
        self.0.lock().expect("no test panics with it").push(request.clone());
    }

    fn attempt_failed(&self, _: &RouteRequest, _: &AttemptFailure<'_>) {}

    fn ended(&self, _: &Call, _: &CallEnd, _: Reason) {}
}

/// Takes every entry.
struct OpenBooks;

impl Ledger for OpenBooks {
    fn reserve(&self, _: Call) -> BoxFuture<'_, Result<Box<dyn OpenCall>, LedgerError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn OpenCall>) })
    }

    fn record(&self, _: Call, _: CallEnd) {}
}

impl OpenCall for OpenBooks {
    fn close(self: Box<Self>, _: CallEnd) {}
}

/// A router of one backend and one route.
pub(super) fn router(backend: Arc<dyn Backend>, default_privacy: Privacy, heard: &Arc<Heard>) -> Router {
    let (runtime, _) = TokioRuntime::start();
    let target: BackendId = backend.id().clone();
    let route = Route::to(RouteId::new("tiny"), ModelId::new("tiny"), target);
    let parts = RouterParts {
        backends: vec![backend],
        routes: vec![Route { default_privacy, ..route }],
        settings: RouterSettings::default(),
        runtime: Arc::new(runtime),
        ledger: Arc::new(OpenBooks),
        observer: Arc::clone(heard) as Arc<dyn Observer>,
        gain: None,
        memory: Arc::default(),
    };
    Router::new(parts).expect("one backend and one route")
}

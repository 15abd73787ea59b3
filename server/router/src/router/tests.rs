//! Routing over backends that answer from memory.

use futures::executor::block_on;
use spillway_types::{
    GenerateEvent, OutputFormat, Priority, RequestId, Sampling, SamplingParams, Seed, Usage,
};

use super::*;
use crate::{BackendError, BackendHealth, BackendLoad, BoxFuture, Capabilities, Feature};

struct FakeBackend {
    id: BackendId,
    model: ModelId,
    num_waiting: u32,
}

impl Backend for FakeBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        BackendSnapshot {
            load: BackendLoad { num_waiting: self.num_waiting, ..BackendLoad::default() },
            health: BackendHealth::Ready,
            capabilities: Arc::new(Capabilities::inside(self.model.clone(), [Feature::Chat])),
        }
    }

    fn generate(&self, _: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        let stream: TokenStream =
            Box::pin(futures::stream::iter([Ok(GenerateEvent::Done(Usage::default()))]));
        Box::pin(std::future::ready(Ok(stream)))
    }
}

fn backend(id: &str, model: &str, num_waiting: u32) -> Arc<dyn Backend> {
    Arc::new(FakeBackend { id: BackendId::new(id), model: ModelId::new(model), num_waiting })
}

fn request(model: &str) -> GenerateRequest {
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new(model),
        prompt: Prompt::Text("hello".to_owned()),
        truncation: None,
        params: SamplingParams::new(Sampling::Greedy, Seed(0)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::Normal,
        cache_salt: None,
    }
}

#[test]
fn routes_by_the_name_of_the_model() {
    let router = Router::new(vec![backend("a", "tiny", 0), backend("b", "small", 0)]).expect("two names");
    let routed = block_on(router.generate(request("small"))).expect("`b` serves it");
    assert_eq!((routed.backend.as_str(), routed.reason), ("b", Reason::OnlyCandidate));
    let Err(error) = block_on(router.generate(request("big"))) else { panic!("nobody serves it") };
    assert!(matches!(error, RouteError::NoCandidate(NoCandidate::UnknownModel { .. })), "{error}");
}

#[test]
fn the_least_loaded_of_two_serves() {
    let router = Router::new(vec![backend("a", "tiny", 3), backend("b", "tiny", 1)]).expect("two names");
    let routed = block_on(router.generate(request("tiny"))).expect("both can");
    assert_eq!((routed.backend.as_str(), routed.reason.as_str()), ("b", "least-loaded"));
}

#[test]
fn refuses_no_backend_and_two_of_one_name() {
    assert_eq!(Router::new(Vec::new()).err(), Some(RouterConfigError::NoBackend));
    let twice = Router::new(vec![backend("a", "tiny", 0), backend("a", "small", 0)]);
    assert_eq!(twice.err(), Some(RouterConfigError::DuplicateId { id: BackendId::new("a") }));
}

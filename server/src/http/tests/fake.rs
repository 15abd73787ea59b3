//! The service under test: a scripted backend, a scripted tokenizer, a clock that stands still.

mod routing;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use futures::stream::{self, StreamExt};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use spillway_router::{
    Backend, BackendError, BackendHealth, BackendId, BackendLoad, BackendSnapshot, BoxFuture, Capabilities,
    ContentRules, Privacy, TokenStream,
};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, GenerateRequest, ModelId, Prompt, TextDelta, TokenId, Usage,
};
use tower::ServiceExt;

use crate::config::{ApiKeys, ByteSize};
use crate::http::{
    AppState, HttpLimits, HttpParts, Lifecycle, MetricsPlace, ModelText, Routing, SamplingDefaults,
    ServedModel, service,
};

pub(super) use routing::{Heard, all_but};

/// What the backend does with a request.
pub(super) type Script = dyn Fn(&GenerateRequest) -> Result<Vec<Item>, BackendError> + Send + Sync;

/// A scripted backend.
pub(super) struct FakeBackend {
    id: BackendId,
    script: Box<Script>,
    then: Then,
    health: BackendHealth,
    capabilities: Arc<Capabilities>,
    pub(super) requests: Mutex<Vec<GenerateRequest>>,
    pub(super) live_streams: Arc<AtomicUsize>,
}

/// What a stream does after the events of its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    End,
    Hang,
}

impl Backend for FakeBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        BackendSnapshot {
            load: BackendLoad::default(),
            health: self.health.clone(),
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        let events = (self.script)(&request);
        self.requests.lock().expect("no test panics with it").push(request);
        let live = Live::new(&self.live_streams);
        let then = self.then;
        Box::pin(async move {
            let after = match then {
                Then::End => stream::empty().left_stream(),
                Then::Hang => stream::pending().right_stream(),
            };
            let events = stream::iter(events?).chain(after).map(move |event| {
                let _ = &live;
                event
            });
            let stream: TokenStream = Box::pin(events);
            Ok(stream)
        })
    }
}

/// Counts a stream as long as it lives.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Bytes are tokens.
struct ByteText;

impl ModelText for ByteText {
    fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, BackendError> {
        let text = match prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Chat(chat) => chat.messages.iter().map(|message| message.content.as_str()).collect(),
            Prompt::Tokens(tokens) => return Ok(tokens.clone()),
        };
        Ok(text.bytes().map(|byte| TokenId(byte.into())).collect())
    }

    fn detokenize(&self, tokens: &[TokenId]) -> Result<String, BackendError> {
        let bytes: Option<Vec<u8>> = tokens.iter().map(|token| u8::try_from(token.0).ok()).collect();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| BackendError::InvalidRequest {
            param: Some("tokens"),
            message: "token id is not in the vocabulary of 256 tokens".to_owned(),
        })
    }
}

/// A service and what its backend saw.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) backend: Arc<FakeBackend>,
    pub(super) heard: Arc<Heard>,
    pub(super) lifecycle: Lifecycle,
}

/// A service before it is built.
pub(super) struct Setup {
    pub(super) script: Box<Script>,
    pub(super) then: Then,
    pub(super) health: BackendHealth,
    pub(super) capabilities: Capabilities,
    pub(super) default_privacy: Privacy,
    pub(super) content_rules: ContentRules,
    pub(super) limits: HttpLimits,
    pub(super) api_keys: Option<ApiKeys>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) defaults: SamplingDefaults,
}

/// Limits that no test meets unless it sets its own.
pub(super) fn limits() -> HttpLimits {
    HttpLimits {
        max_body: ByteSize::from_mib(1),
        max_concurrent_requests: NonZeroU32::new(100).expect("not zero"),
        request_timeout: None,
        client_timeout: Duration::from_mins(1),
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            script: Box::new(|request| Ok(hello(request))),
            then: Then::End,
            health: BackendHealth::Ready,
            capabilities: all_but(&[]),
            default_privacy: Privacy::Private,
            content_rules: ContentRules::none(),
            limits: limits(),
            api_keys: None,
            allowed_origins: Vec::new(),
            defaults: SamplingDefaults::default(),
        }
    }
}

impl Setup {
    pub(super) fn build(self) -> Service {
        let backend = Arc::new(FakeBackend {
            id: BackendId::new("local"),
            script: self.script,
            then: self.then,
            health: self.health,
            capabilities: Arc::new(self.capabilities),
            requests: Mutex::default(),
            live_streams: Arc::default(),
        });
        let lifecycle = Lifecycle::default();
        let heard = Arc::new(Heard::default());
        let parts = HttpParts {
            routing: ArcSwap::from_pointee(Routing {
                router: routing::router(
                    Arc::clone(&backend) as Arc<dyn Backend>,
                    self.default_privacy,
                    &heard,
                ),
                models: vec![ServedModel {
                    id: ModelId::new("tiny"),
                    aliases: vec![ModelId::new("small"), ModelId::new("org/tiny")],
                    created: 1_600_000_000,
                    max_model_len: Some(2048),
                    defaults: self.defaults,
                    text: Some(Arc::new(ByteText)),
                }],
                api_keys: self.api_keys,
                content_rules: self.content_rules,
            }),
            limits: self.limits,
            metrics_place: MetricsPlace::EveryPort,
            allowed_origins: self.allowed_origins,
            keep_alive: Duration::from_secs(15),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            clock: Arc::new(|| 1_700_000_000),
            lifecycle: lifecycle.clone(),
        };
        Service { router: service(AppState::new(parts)), backend, heard, lifecycle }
    }
}

/// Sends no answer but this error.
pub(super) fn refusing(error: impl Fn() -> BackendError + Send + Sync + 'static) -> Setup {
    Setup { script: Box::new(move |_| Err(error())), ..Setup::default() }
}

/// Sends these events for every request.
pub(super) fn sending(events: impl Fn() -> Vec<Item> + Send + Sync + 'static) -> Setup {
    Setup { script: Box::new(move |_| Ok(events())), ..Setup::default() }
}

/// An item of a backend's stream.
pub(super) type Item = Result<GenerateEvent, BackendError>;

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
pub(super) fn started() -> Item {
    Ok(GenerateEvent::Started { prompt_tokens: Some(5), provider_request_id: None })
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
pub(super) fn text(choice: u32, text: &str) -> Item {
    Ok(GenerateEvent::Delta(TextDelta {
        choice,
        text: text.to_owned(),
        tokens: vec![AnswerToken { token: Some(TokenId(1)), logprob: -0.5, detail: None }],
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
pub(super) fn finished(choice: u32, reason: FinishReason) -> Item {
    Ok(GenerateEvent::Finished { choice, reason, stop: None })
}

#[expect(clippy::unnecessary_wraps, reason = "scripts are lists of stream items")]
pub(super) fn done(completion_tokens: u32) -> Item {
    Ok(GenerateEvent::Done(Usage {
        prompt_tokens: 5,
        cached_tokens: 4,
        cache_write_tokens: 0,
        completion_tokens,
    }))
}

/// "Hello" and the choice's number, for every choice; the tokens of the choices come in turn.
pub(super) fn hello(request: &GenerateRequest) -> Vec<Item> {
    let n = request.params.n.get();
    let mut events = vec![started()];
    events.extend((0..n).map(|choice| text(choice, "Hello")));
    events.extend((0..n).map(|choice| text(choice, "")));
    events.extend((0..n).map(|choice| text(choice, &format!(" {choice}"))));
    events.extend((0..n).map(|choice| finished(choice, FinishReason::Stop)));
    events.push(done(3 * n));
    events
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ours are ASCII"))
    }

    /// The data of every event of a stream.
    pub(super) fn events(&self) -> Vec<String> {
        let data = self.body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
        data.map(|event| event.strip_prefix("data: ").expect("an event holds data").to_owned()).collect()
    }
}

impl Service {
    pub(super) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("the service answers everything")
    }

    pub(super) async fn read(&self, request: Request<Body>) -> Answer {
        let response = self.send(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is whole").to_bytes();
        let body = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.read(post(path, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.read(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// The requests that the backend saw.
    pub(super) fn seen(&self) -> Vec<GenerateRequest> {
        self.backend.requests.lock().expect("no test panics with it").clone()
    }

    pub(super) fn live_streams(&self) -> usize {
        self.backend.live_streams.load(SeqCst)
    }
}

pub(super) fn post(path: &str, body: &Value) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request")
}

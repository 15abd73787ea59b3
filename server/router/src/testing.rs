//! Doubles for the router's tests: backends that follow a script, a clock that moves when somebody sleeps, open books.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::executor::block_on;
use futures::stream::{self, StreamExt};
use spillway_types::{
    AnswerToken, FinishReason, GenerateEvent, GenerateRequest, ModelId, OutputFormat, Priority, Prompt,
    RequestId, Sampling, SamplingParams, Seed, SpelledToken, TextDelta, TokenDetail, TokenId, TokenPrices,
    Usage, Usd,
};

use crate::*;

/// What a scripted backend does with one call.
pub(crate) enum Act {
    /// Refuses it.
    Refuse(BackendError),
    /// Streams these events.
    Stream(Vec<Result<GenerateEvent, BackendError>>),
    /// Streams these events and then nothing more.
    Stall(Vec<Result<GenerateEvent, BackendError>>),
    /// Never answers.
    Hang,
}

/// A backend that follows a script, and answers well after its end.
pub(crate) struct FakeBackend {
    id: BackendId,
    capabilities: Arc<Capabilities>,
    load: BackendLoad,
    health: BackendHealth,
    script: Mutex<VecDeque<Act>>,
    pub(crate) calls: Mutex<Vec<GenerateRequest>>,
}

impl FakeBackend {
    /// An engine of this process.
    pub(crate) fn local() -> Self {
        let engine = EngineState {
            queued_prompt_tokens: 0,
            prefill_tokens_per_second: Some(1000.0),
            decode_tokens_per_second: Some(100.0),
            requests_per_second: 1.0,
            prefix_hit_rate: 0.0,
            block_tokens: 16,
            num_blocks: 1000,
            num_free_blocks: 1000,
            max_num_seqs: 8,
        };
        let mut backend = Self::new("local", Capabilities::inside(ModelId::new("small"), [Feature::Chat]));
        backend.load.engine = Some(engine);
        backend
    }

    /// A paid one outside: a thousand dollars a million tokens, so a token is a tenth of a cent.
    pub(crate) fn far(id: &str) -> Self {
        let price = Usd::parse("1000").expect("dollars");
        let prices = TokenPrices { input: price, output: price, ..TokenPrices::default() };
        let inside = Capabilities::inside(ModelId::new("large"), [Feature::Chat, Feature::Tools]);
        Self::new(
            id,
            Capabilities { boundary: Boundary::Outside, prices, default_max_tokens: Some(10), ..inside },
        )
    }

    fn new(id: &str, capabilities: Capabilities) -> Self {
        Self {
            id: BackendId::new(id),
            capabilities: Arc::new(capabilities),
            load: BackendLoad::default(),
            health: BackendHealth::Ready,
            script: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub(crate) fn having(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(Arc::make_mut(&mut self.capabilities));
        self
    }

    /// An engine with so many prompt tokens in its queue, at a thousand a second.
    pub(crate) fn queueing(self, tokens: u64) -> Self {
        self.with_engine(|engine| engine.queued_prompt_tokens = tokens)
    }

    pub(crate) fn with_engine(mut self, change: impl FnOnce(&mut EngineState)) -> Self {
        change(self.load.engine.as_mut().expect("it has an engine"));
        self
    }

    pub(crate) fn in_health(mut self, health: BackendHealth) -> Self {
        self.health = health;
        self
    }

    pub(crate) fn acting(self, acts: impl IntoIterator<Item = Act>) -> Self {
        locked(&self.script).extend(acts);
        self
    }

    pub(crate) fn num_calls(&self) -> usize {
        locked(&self.calls).len()
    }
}

impl Backend for FakeBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        BackendSnapshot {
            load: self.load,
            health: self.health.clone(),
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        locked(&self.calls).push(request);
        let act = locked(&self.script).pop_front().unwrap_or_else(|| Act::Stream(answer("well", 3)));
        Box::pin(async move {
            match act {
                Act::Refuse(error) => Err(error),
                Act::Stream(events) => Ok(Box::pin(stream::iter(events)) as TokenStream),
                Act::Stall(events) => {
                    Ok(Box::pin(stream::iter(events).chain(stream::pending())) as TokenStream)
                }
                Act::Hang => pending().await,
            }
        })
    }
}

/// A whole answer of one delta, with this many tokens; its prompt had 100.
pub(crate) fn answer(text: &str, completion_tokens: u32) -> Vec<Result<GenerateEvent, BackendError>> {
    vec![
        Ok(GenerateEvent::Started { prompt_tokens: None, provider_request_id: Some("theirs".to_owned()) }),
        Ok(delta(text, &[])),
        Ok(GenerateEvent::Finished { choice: 0, reason: FinishReason::Stop, stop: None }),
        Ok(GenerateEvent::Done(Usage { prompt_tokens: 100, completion_tokens, ..Usage::default() })),
    ]
}

/// New text with tokens of these log-probabilities, told with as many alternatives.
pub(crate) fn delta(text: &str, logprobs: &[f32]) -> GenerateEvent {
    let token = |logprob: &f32| {
        let spelled = SpelledToken { token: Some(TokenId(1)), logprob: *logprob, bytes: Vec::new() };
        let detail = TokenDetail { bytes: Vec::new(), text_offset: 0, rank: 1, top: vec![spelled; 3] };
        AnswerToken { token: Some(TokenId(1)), logprob: *logprob, detail: Some(detail) }
    };
    GenerateEvent::Delta(TextDelta {
        choice: 0,
        text: text.to_owned(),
        tokens: logprobs.iter().map(token).collect(),
    })
}

/// An error of a server that is not ours.
pub(crate) fn upstream(class: ErrorClass, retry_after_ms: Option<u64>) -> BackendError {
    BackendError::Upstream(UpstreamError {
        backend: BackendId::new("far"),
        class,
        code: "Planted".to_owned(),
        message: "planted".to_owned(),
        status: None,
        retry_after: retry_after_ms.map(Duration::from_millis),
        request_id: None,
        progress: Progress::NothingSent,
        usage: None,
    })
}

/// A clock that moves when somebody sleeps, and draws that are always a half.
#[derive(Default)]
pub(crate) struct FakeRuntime {
    now: Arc<Mutex<Duration>>,
    pub(crate) slept: Arc<Mutex<Vec<Duration>>>,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl FakeRuntime {
    /// Runs what was spawned to its end.
    pub(crate) fn run_tasks(&self) {
        for task in std::mem::take(&mut *locked(&self.tasks)) {
            block_on(task);
        }
    }

    pub(crate) fn advance(&self, time: Duration) {
        *locked(&self.now) += time;
    }
}

impl Runtime for FakeRuntime {
    fn now(&self) -> Duration {
        *locked(&self.now)
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (now, slept) = (Arc::clone(&self.now), Arc::clone(&self.slept));
        Box::pin(async move {
            *locked(&now) += time;
            locked(&slept).push(time);
        })
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        locked(&self.tasks).push(task);
    }
}

/// What was reserved, and how it ended.
type Rows = Arc<Mutex<Vec<(Call, Option<CallEnd>)>>>;

/// Books that a test can read.
#[derive(Default)]
pub(crate) struct FakeLedger {
    /// Every row: what was reserved, and how it ended.
    pub(crate) rows: Rows,
    pub(crate) refuses: bool,
    /// Whether nothing is ever written.
    pub(crate) hangs: bool,
}

struct FakeRow(Rows, usize);

impl OpenCall for FakeRow {
    fn close(self: Box<Self>, end: CallEnd) {
        let before = locked(&self.0)[self.1].1.replace(end);
        assert!(before.is_none(), "a row is closed once");
    }
}

impl Ledger for FakeLedger {
    fn reserve(&self, call: Call) -> BoxFuture<'_, Result<Box<dyn OpenCall>, LedgerError>> {
        Box::pin(async move {
            if self.refuses {
                return Err(LedgerError { message: "planted".to_owned() });
            }
            if self.hangs {
                pending::<()>().await;
            }
            let mut rows = locked(&self.rows);
            rows.push((call, None));
            Ok(Box::new(FakeRow(Arc::clone(&self.rows), rows.len() - 1)) as Box<dyn OpenCall>)
        })
    }

    fn record(&self, call: Call, end: CallEnd) {
        locked(&self.rows).push((call, Some(end)));
    }
}

impl FakeLedger {
    /// A line a row: attempt, backend, purpose, outcome, dollars.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(call, end): &(Call, Option<CallEnd>)| {
            let (outcome, cost) =
                end.as_ref().map_or(("open", call.reserved), |end| (end.outcome.as_str(), end.cost));
            format!("{} {} {} {outcome} {cost}", call.attempt, call.backend, call.purpose.as_str())
        };
        locked(&self.rows).iter().map(line).collect()
    }
}

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn decided(&self, _: &RouteRequest, _: &Decision) {}
    fn attempt_failed(&self, _: &RouteRequest, _: &AttemptFailure<'_>) {}
    fn ended(&self, _: &Call, _: &CallEnd, _: Reason) {}
}

/// Finds a prompt as hard as the number that it is.
struct Reader;

impl GainEstimator for Reader {
    fn gain(&self, text: &str) -> f32 {
        text.parse().unwrap_or(0.0)
    }

    fn threshold(&self, share: f64) -> f32 {
        1.0 - share as f32
    }
}

/// A router over doubles.
pub(crate) struct World {
    pub(crate) backends: Vec<Arc<FakeBackend>>,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) ledger: Arc<FakeLedger>,
    pub(crate) router: Router,
}

impl World {
    /// One route, `m`, to these backends in this order, changed as the test wants it.
    pub(crate) fn new(
        backends: impl IntoIterator<Item = FakeBackend>,
        change: impl FnOnce(&mut Route, &mut RouterSettings),
    ) -> Self {
        Self::with_ledger(backends, FakeLedger::default(), change)
    }

    pub(crate) fn with_ledger(
        backends: impl IntoIterator<Item = FakeBackend>,
        ledger: FakeLedger,
        change: impl FnOnce(&mut Route, &mut RouterSettings),
    ) -> Self {
        let backends: Vec<Arc<FakeBackend>> = backends.into_iter().map(Arc::new).collect();
        let mut route = Route::to(RouteId::new("r"), ModelId::new("m"), backends[0].id.clone());
        route.targets = backends.iter().map(|backend| backend.id.clone()).collect();
        route.default_privacy = Privacy::Standard;
        let mut settings = RouterSettings::default();
        change(&mut route, &mut settings);
        let (runtime, ledger) = (Arc::new(FakeRuntime::default()), Arc::new(ledger));
        let router = Router::new(RouterParts {
            backends: backends.iter().map(|backend| Arc::clone(backend) as Arc<dyn Backend>).collect(),
            routes: vec![route],
            settings,
            runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            observer: Arc::new(Deaf),
            gain: Some(Arc::new(Reader)),
            memory: Arc::default(),
        })
        .expect("a router");
        Self { backends, runtime, ledger, router }
    }

    /// Serves a request and reads its answer to the end; a line for who served it, and its text or its error.
    pub(crate) fn ask(&self, request: &RouteRequest) -> String {
        match block_on(self.router.serve(request, standard_work())) {
            Err(error) => format!("no answer: {error}"),
            Ok(routed) => {
                let head = format!("{} {}", routed.backend, routed.reason.as_str());
                let events: Vec<_> = block_on(routed.stream.collect());
                format!("{head}: {}", told(&events))
            }
        }
    }

    pub(crate) fn num_calls(&self) -> Vec<usize> {
        self.backends.iter().map(|backend| backend.num_calls()).collect()
    }
}

/// The text of events, and the error at their end.
pub(crate) fn told(events: &[Result<GenerateEvent, BackendError>]) -> String {
    events
        .iter()
        .map(|event| match event {
            Ok(GenerateEvent::Delta(delta)) => delta.text.clone(),
            Ok(_) => String::new(),
            Err(error) => format!(" ERROR {error}"),
        })
        .collect()
}

/// A standard request for `m` with a prompt of 100 tokens.
pub(crate) fn standard(name: &str) -> RouteRequest {
    RouteRequest {
        name: Arc::from(name),
        model: ModelId::new("m"),
        key: None,
        label: Label { privacy: Privacy::Standard, source: LabelSource::Route },
        needs: Needs { features: [Feature::Chat].into(), prompt_tokens: 100, max_tokens: None },
        text: Arc::from("0"),
        max_cost: None,
        slo_ttft: None,
        session: None,
        tags: Vec::new(),
        is_stream: true,
    }
}

/// The same, that must not leave.
pub(crate) fn private(name: &str) -> RouteRequest {
    let label = Label { privacy: Privacy::Private, source: LabelSource::Header };
    RouteRequest { label, ..standard(name) }
}

/// What `standard` asks for.
pub(crate) fn standard_work() -> GenerateRequest {
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("m"),
        prompt: Prompt::Text("a prompt".to_owned()),
        truncation: None,
        params: SamplingParams::new(Sampling::Greedy, Seed(0)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::default(),
        cache_salt: None,
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

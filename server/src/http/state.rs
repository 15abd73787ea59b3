//! What every endpoint may use.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use spillway_router::{BackendError, ContentRules, Router};
use spillway_types::{ModelId, Prompt, TokenId};
use tokio::sync::Semaphore;

use crate::config::{ApiKeys, ByteSize};
use crate::http::ids::Ids;
use crate::http::lifecycle::Lifecycle;

/// Tells the seconds since 1970.
pub(crate) type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the service is made of.
pub(crate) struct HttpParts {
    /// Who is served by whom: replaced whole when the config changes.
    pub(crate) routing: ArcSwap<Routing>,
    /// How much a request may take.
    pub(crate) limits: HttpLimits,
    /// Which ports tell the metrics.
    pub(crate) metrics_place: MetricsPlace,
    /// Web sites whose pages may ask.
    pub(crate) allowed_origins: Vec<String>,
    /// Time between the comments that keep an idle stream open.
    pub(crate) keep_alive: Duration,
    /// Writes the metrics.
    pub(crate) metrics: PrometheusHandle,
    /// Time.
    pub(crate) clock: WallClock,
    /// Whether the server is closing, and what is still in flight.
    pub(crate) lifecycle: Lifecycle,
}

/// Who is served by whom. A request keeps the one that it began with.
pub(crate) struct Routing {
    /// Hands requests to backends.
    pub(crate) router: Router,
    /// The models that are listed, tokenised for, and served: at least one.
    pub(crate) models: Vec<ServedModel>,
    /// Keys of which a request must show one, if there are any.
    pub(crate) api_keys: Option<ApiKeys>,
    /// What makes a request private by what it says.
    pub(crate) content_rules: ContentRules,
}

/// How much a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Largest body.
    pub(crate) max_body: ByteSize,
    /// Most requests at once.
    pub(crate) max_concurrent_requests: NonZeroU32,
    /// Longest time from arrival to the last byte.
    pub(crate) request_timeout: Option<Duration>,
    /// Longest time between two pieces of a body.
    pub(crate) client_timeout: Duration,
}

/// Which ports tell the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsPlace {
    /// There is but one port.
    EveryPort,
    /// They are not for the public.
    AdminPort,
}

/// One model as clients see it.
pub(crate) struct ServedModel {
    /// The served name, which stands in answers.
    pub(crate) id: ModelId,
    /// Other names by which clients may ask for it.
    pub(crate) aliases: Vec<ModelId>,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
    /// Tokens of prompt and output together, if that is known.
    pub(crate) max_model_len: Option<u32>,
    /// What a request gets that does not say how to sample.
    pub(crate) defaults: SamplingDefaults,
    /// Its tokenizer, if it is served here.
    pub(crate) text: Option<Arc<dyn ModelText>>,
}

impl ServedModel {
    /// All names by which clients may ask for it, the one in answers first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &ModelId> {
        std::iter::once(&self.id).chain(&self.aliases)
    }
}

/// How to sample when a request does not say: the model's generation config, else OpenAI's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SamplingDefaults {
    /// Divisor of the logits.
    pub(crate) temperature: f32,
    /// Cut by cumulated probability; 1 is off.
    pub(crate) top_p: f32,
    /// Cut by rank.
    pub(crate) top_k: Option<NonZeroU32>,
    /// Cut by probability relative to the best; 0 is off.
    pub(crate) min_p: f32,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: None, min_p: 0.0 }
    }
}

/// Tokenises without generating. Runs where blocking is allowed.
pub(crate) trait ModelText: Send + Sync {
    /// The tokens of a prompt.
    fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, BackendError>;

    /// The text of tokens.
    fn detokenize(&self, tokens: &[TokenId]) -> Result<String, BackendError>;
}

/// Shared by all requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) parts: HttpParts,
    pub(crate) ids: Ids,
    /// One for each request that there may be at once.
    pub(crate) places: Arc<Semaphore>,
}

impl AppState {
    /// Shares the parts among all requests.
    pub(crate) fn new(parts: HttpParts) -> Self {
        let places = Arc::new(Semaphore::new(parts.limits.max_concurrent_requests.get() as usize));
        Self { shared: Arc::new(Shared { parts, ids: Ids::new(), places }) }
    }

    /// The parts.
    pub(crate) fn parts(&self) -> &HttpParts {
        &self.shared.parts
    }

    /// Who is served by whom at this moment.
    pub(crate) fn routing(&self) -> Arc<Routing> {
        self.shared.parts.routing.load_full()
    }

    /// Lets requests that come from now on have another.
    pub(crate) fn replace_routing(&self, routing: Routing) {
        self.shared.parts.routing.store(Arc::new(routing));
    }

    /// Places of requests.
    pub(crate) fn places(&self) -> &Arc<Semaphore> {
        &self.shared.places
    }

    /// Source of names and seeds.
    pub(crate) fn ids(&self) -> &Ids {
        &self.shared.ids
    }
}

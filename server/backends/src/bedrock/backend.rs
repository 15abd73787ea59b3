//! The backend itself: what it says of itself, and one call.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::SharedHttpClient;
use aws_sdk_bedrockruntime::operation::RequestId;
use spillway_engine::{Clock, SystemClock};
use spillway_router::{
    Backend, BackendError, BackendHealth, BackendId, BackendLoad, BackendSnapshot, BoxFuture, Capabilities,
    ErrorClass, Progress, TokenStream,
};
use spillway_types::{GenerateRequest, ModelId};
use tokio::time::timeout_at;

use super::answer::Answer;
use super::client;
use super::config::{BedrockConfig, BedrockConfigError, Delivery};
use super::errors;
use super::fault::Fault;
use super::quota::{Exhausted, Reservation, TokenQuota};
use super::request::Call;
use super::stream::{self, AnswerStream, Deadlines, Lease};
use super::traits::Traits;
use super::whole;

/// One model in one region of AWS.
pub struct BedrockBackend {
    config: BedrockConfig,
    traits: Traits,
    capabilities: Arc<Capabilities>,
    client: Client,
    quota: Option<Arc<TokenQuota>>,
    num_running: Arc<AtomicU32>,
}

impl BedrockBackend {
    /// Makes a backend of a target. Nothing is sent: credentials are looked for with the first request.
    ///
    /// # Errors
    ///
    /// [`BedrockConfigError`] if the target cannot be.
    pub async fn connect(config: BedrockConfig) -> Result<Self, BedrockConfigError> {
        Self::connect_with(config, Arc::new(SystemClock::start())).await
    }

    /// As [`connect`](Self::connect), with the clock by which the quota's minute is told.
    ///
    /// # Errors
    ///
    /// [`BedrockConfigError`] if the target cannot be.
    pub async fn connect_with(
        config: BedrockConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BedrockConfigError> {
        Self::connect_over(config, clock, client::https()).await
    }

    pub(super) async fn connect_over(
        config: BedrockConfig,
        clock: Arc<dyn Clock>,
        connections: SharedHttpClient,
    ) -> Result<Self, BedrockConfigError> {
        config.check()?;
        let client = client::client(&config, connections).await;
        let traits = Traits::of(&config.model, &config.overrides);
        let capabilities = Arc::new(capabilities(&config, &traits));
        let quota = config.tokens_per_minute.map(|limit| TokenQuota::new(limit, clock));
        Ok(Self { config, traits, capabilities, client, quota, num_running: Arc::default() })
    }

    async fn call(&self, request: &GenerateRequest) -> Result<TokenStream, BackendError> {
        let call = Call::new(request, &self.config, &self.traits)?;
        let early = |fault: Fault| fault.of(&self.config.id, Progress::NothingSent);
        let reservation = self.reserve(&call).map_err(early)?;
        let burndown = self.config.output_burndown.get();
        let lease = Lease::new(self.config.id.clone(), &self.num_running, reservation, burndown);
        match self.config.delivery {
            Delivery::Stream => self.stream(call, lease).await.map_err(early),
            Delivery::Whole => self.whole(call, lease).await.map_err(early),
        }
    }

    async fn stream(&self, call: Call, mut lease: Lease) -> Result<TokenStream, Fault> {
        let deadlines = Deadlines::new(&self.config.timeouts);
        let (deadline, late) = deadlines.first();
        let sent = timeout_at(deadline, call.for_stream(&self.client).send()).await;
        let answer = sent.map_err(|_| late)?.map_err(|error| refused(&mut lease, errors::of_call(&error)))?;
        let request_id = answer.request_id().map(ToOwned::to_owned);
        let reading = Answer::new(call.reading, request_id);
        Ok(AnswerStream::new(answer.stream, reading, deadlines, lease).into_stream())
    }

    async fn whole(&self, call: Call, mut lease: Lease) -> Result<TokenStream, Fault> {
        let deadlines = Deadlines::new(&self.config.timeouts);
        let (deadline, late) = deadlines.first();
        let sent = timeout_at(deadline, call.for_whole(&self.client).send()).await;
        let answer = sent.map_err(|_| late)?.map_err(|error| refused(&mut lease, errors::of_call(&error)))?;
        let request_id = answer.request_id().map(ToOwned::to_owned);
        let reading = Answer::new(call.reading, request_id.clone());
        let told = whole::events(answer).and_then(|events| stream::of_whole(events, reading, lease));
        told.map_err(|fault| Fault { request_id, ..fault })
    }

    /// Takes the call's tokens out of the minute's quota, if it is counted here.
    fn reserve(&self, call: &Call) -> Result<Option<Reservation>, Fault> {
        let Some(quota) = &self.quota else { return Ok(None) };
        quota.reserve(call.reserved_tokens).map(Some).map_err(|exhausted| {
            let Exhausted { wanted, left, limit, retry_after } = exhausted;
            let message = format!(
                "the call may use {wanted} tokens, {left} are left of {limit} a minute (tokens_per_minute): lower `max_tokens` or wait"
            );
            Fault { retry_after, ..Fault::new(ErrorClass::NoRoomCounted, "quota_reserved_here", message) }
        })
    }
}

/// Puts the quota back if Bedrock did not take the call.
fn refused(lease: &mut Lease, fault: Fault) -> Fault {
    let was_taken = fault.status.is_none_or(|status| status < 400)
        && !matches!(fault.class, ErrorClass::Connect | ErrorClass::Credentials);
    if !was_taken {
        lease.release();
    }
    fault
}

fn capabilities(config: &BedrockConfig, traits: &Traits) -> Capabilities {
    Capabilities {
        model: ModelId::new(config.model.as_str()),
        boundary: config.boundary,
        features: traits.features.clone(),
        context_tokens: config.context_tokens.map(NonZeroU32::get),
        max_output_tokens: config.max_output_tokens.map(NonZeroU32::get),
        default_max_tokens: Some(config.default_max_tokens.get()),
        prices: config.prices,
        residency: Some(config.model.residency(&config.region)),
        tokens_per_minute: config.tokens_per_minute.map(std::num::NonZeroU64::get),
    }
}

impl Backend for BedrockBackend {
    fn id(&self) -> &BackendId {
        &self.config.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        BackendSnapshot {
            load: BackendLoad { num_running: self.num_running.load(Relaxed), ..BackendLoad::default() },
            health: BackendHealth::Ready,
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        Box::pin(async move { self.call(&request).await })
    }
}

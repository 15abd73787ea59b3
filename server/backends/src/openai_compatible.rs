//! Any server that speaks OpenAI's protocol as a backend: another Spillway, vLLM, llama.cpp, OpenAI itself.
//!
//! One backend is one model, at one address or at several that are alike. It asks once: whether to ask again is the
//! router's choice, who is told of every error by its class.
//!
//! # Invariants
//!
//! - Addresses, keys and headers come from the config alone. No redirect is followed, no proxy of the environment used.
//! - An answer ends well only with `[DONE]` (or as a whole), a reason for each choice, and its usage.
//! - No message and no log line holds a key, a prompt or what was generated.
//!
//! In a request's path: between the router and another server's `/v1/chat/completions` or `/v1/completions`.

mod affinity;
mod client;
mod config;
mod dialect;
mod fault;
mod reading;
mod replicas;
mod request;
mod sse;
mod stream;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use spillway_router::{
    Backend, BackendError, BackendId, BackendSnapshot, BoxFuture, Capabilities, ErrorClass, Progress,
    TokenStream,
};
use spillway_types::{GenerateRequest, Prompt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use affinity::PrefixKey;
use client::{Client, ReplyBody};
pub use config::{
    ApiKey, CompatibleConfig, CompatibleConfigError, Delivery, ExtraHeaders, HealthSettings, ReplicaUrl,
    Timeouts,
};
pub use dialect::Dialect;
use fault::Fault;
use replicas::{InFlight, Replicas};
use request::{Endpoint, Recipient};
use stream::{Answer, late};

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Looks after which a replica's last report says nothing any more.
const MAX_REPORT_LOOKS: u32 = 3;

/// One OpenAI-compatible model. Dropping it ends its watch; answers under way go on.
pub struct CompatibleBackend {
    id: BackendId,
    capabilities: Arc<Capabilities>,
    dialect: Dialect,
    delivery: Delivery,
    timeouts: Timeouts,
    client: Client,
    replicas: Arc<Replicas>,
    /// Ends with the backend.
    _watch: JoinSet<()>,
}

impl CompatibleBackend {
    /// Sets the client up, and begins to watch the replicas. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`CompatibleConfigError`] if the config contradicts itself or a certificate is none.
    pub fn start(config: CompatibleConfig) -> Result<Self, CompatibleConfigError> {
        config.check()?;
        let client = Client::new(&config)?;
        let max_report_age =
            config.health.map_or(Duration::ZERO, |health| health.interval * MAX_REPORT_LOOKS);
        let replicas = Arc::new(Replicas::new(config.replicas, max_report_age));
        let mut watch = JoinSet::new();
        watch.spawn(client.clone().sweep());
        if let Some(settings) = config.health {
            watch.spawn(watch::watch(config.id.clone(), Arc::clone(&replicas), client.clone(), settings));
        }
        Ok(Self {
            id: config.id,
            capabilities: Arc::new(config.capabilities),
            dialect: config.dialect,
            delivery: config.delivery,
            timeouts: config.timeouts,
            client,
            replicas,
            _watch: watch,
        })
    }

    fn error(&self, fault: Fault) -> BackendError {
        fault.of(&self.id, Progress::NothingSent)
    }

    async fn ask(&self, request: GenerateRequest) -> Result<TokenStream, BackendError> {
        let start = Instant::now();
        let recipient = Recipient {
            id: &self.id,
            capabilities: &self.capabilities,
            dialect: self.dialect,
            delivery: self.delivery,
        };
        let body = request::body(&request, recipient)?;
        let in_flight = self.replicas.choose(|| PrefixKey::of(&request));
        let response = self.post(&request, body, &in_flight, start).await.map_err(|fault| {
            in_flight.failed(&fault);
            self.error(fault)
        })?;
        let answer = Answer {
            backend: self.id.clone(),
            num_choices: request.params.n.get(),
            delivery: self.delivery,
            timeouts: self.timeouts,
            start,
            in_flight,
        };
        Ok(answer.stream(response))
    }

    /// Sends a request and waits for the head of an answer that goes well.
    async fn post(
        &self,
        request: &GenerateRequest,
        body: Bytes,
        in_flight: &InFlight,
        start: Instant,
    ) -> Result<Response<ReplyBody>, Fault> {
        let timeouts = &self.timeouts;
        let (limit, class) = match self.delivery {
            Delivery::Streamed if timeouts.first_token < timeouts.total => {
                (timeouts.first_token, ErrorClass::FirstTokenTimeout)
            }
            Delivery::Streamed | Delivery::Whole => (timeouts.total, ErrorClass::TotalTimeout),
        };
        let uri = in_flight.replica().uri(Endpoint::of(&request.prompt));
        let answered = timeout_at(start + limit, async {
            let response = self.client.post(uri, body).await?;
            if response.status() == StatusCode::OK {
                Ok(response)
            } else {
                Err(refusal(response, &request.prompt).await)
            }
        });
        answered.await.unwrap_or_else(|_elapsed| Err(late(class, timeouts)))
    }
}

/// Reads an answer that is an error.
async fn refusal(response: Response<ReplyBody>, prompt: &Prompt) -> Fault {
    let (head, body) = response.into_parts();
    // The status says the most: a body that cannot be read adds nothing.
    let body = Limited::new(body, MAX_ERROR_BYTES).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    fault::of_status(head.status, &head.headers, &body, prompt)
}

impl Backend for CompatibleBackend {
    fn id(&self) -> &BackendId {
        &self.id
    }

    fn snapshot(&self) -> BackendSnapshot {
        BackendSnapshot {
            load: self.replicas.load(),
            health: self.replicas.health(),
            capabilities: Arc::clone(&self.capabilities),
        }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>> {
        Box::pin(self.ask(request))
    }
}

#[cfg(test)]
mod tests;

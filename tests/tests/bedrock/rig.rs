//! A target of the fake's, and everything that comes of a request.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::StreamExt;
use spillway_backends::{
    BedrockBackend, BedrockConfig, BedrockCredentials, BedrockDelivery, BedrockModel, BedrockTimeouts,
};
use spillway_router::{Backend, BackendError, BackendId, TokenStream, UpstreamError};
use spillway_tests::FakeBedrock;
use spillway_types::{
    ChatMessage, ChatPrompt, GenerateEvent, GenerateRequest, ModelId, OutputFormat, Priority, Prompt,
    RequestId, Role, Sampling, SamplingParams, Seed, Usage,
};

/// Time enough for whatever is not meant to run out.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);
/// Time that is meant to run out.
pub(crate) const SHORT: Duration = Duration::from_millis(80);

/// Both ways in which answers come.
pub(crate) const DELIVERIES: [BedrockDelivery; 2] = [BedrockDelivery::Stream, BedrockDelivery::Whole];

/// Credentials from given keys.
pub(crate) fn keys(id: &str, secret: &str, session_token: Option<&str>) -> BedrockCredentials {
    let session_token = session_token.map(str::to_owned);
    let keys = Credentials::new(id, secret, session_token, None, "test");
    BedrockCredentials::Provider(SharedCredentialsProvider::new(keys))
}

/// A model of the fake's, with its own keys and time enough.
pub(crate) fn target(fake: &FakeBedrock, model: &str) -> BedrockConfig {
    let model = BedrockModel::parse(model).expect("it is a model's name");
    let ample = BedrockTimeouts { connect: AMPLE, first_token: AMPLE, idle: AMPLE, total: AMPLE };
    BedrockConfig {
        credentials: keys(FakeBedrock::ACCESS_KEY_ID, FakeBedrock::SECRET_ACCESS_KEY, None),
        endpoint_url: Some(fake.url().into()),
        timeouts: ample,
        ..BedrockConfig::new(BackendId::new("cloud"), "eu-central-1", model)
    }
}

/// A backend of a target.
pub(crate) async fn backend(config: BedrockConfig) -> BedrockBackend {
    BedrockBackend::connect(config).await.expect("the target can be")
}

/// What the user asks.
pub(crate) fn ask(text: &str) -> GenerateRequest {
    let sampling = Sampling::new(0.5, None, 1.0, 0.0).expect("they are in range");
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("cloud"),
        prompt: Prompt::Chat(ChatPrompt::new(vec![ChatMessage::new(Role::User, text)])),
        truncation: None,
        params: SamplingParams::new(sampling, Seed(0)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::Normal,
        cache_salt: None,
    }
}

/// Everything that came of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<GenerateEvent>,
    pub(crate) error: Option<BackendError>,
}

impl Outcome {
    /// Reads to the end.
    pub(crate) async fn of(backend: &BedrockBackend, request: GenerateRequest) -> Self {
        match backend.generate(request).await {
            Ok(stream) => Self::read(stream).await,
            Err(error) => Self { events: Vec::new(), error: Some(error) },
        }
    }

    pub(crate) async fn read(mut stream: TokenStream) -> Self {
        let mut events = Vec::new();
        while let Some(item) = stream.next().await {
            match item {
                Ok(event) => events.push(event),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "something follows an error");
                    return Self { events, error: Some(error) };
                }
            }
        }
        Self { events, error: None }
    }

    /// All text.
    pub(crate) fn text(&self) -> String {
        let text = self.events.iter().filter_map(|event| match event {
            GenerateEvent::Delta(delta) => Some(delta.text.as_str()),
            _ => None,
        });
        text.collect()
    }

    /// The usage, if it ended well.
    pub(crate) fn usage(&self) -> Usage {
        match (self.events.last(), &self.error) {
            (Some(GenerateEvent::Done(usage)), None) => *usage,
            (_, error) => panic!("it did not end well: {error:?}"),
        }
    }

    /// The error of the other side.
    pub(crate) fn upstream(&self) -> &UpstreamError {
        match &self.error {
            Some(BackendError::Upstream(error)) => error,
            other => panic!("it failed upstream, not so: {other:?}, after {:?}", self.events),
        }
    }

    /// Class, code and progress of the error.
    pub(crate) fn failure(&self) -> String {
        let error = self.upstream();
        format!("{:?} {} {:?}", error.class, error.code, error.progress)
    }
}

//! A connection that answers every request with the same bytes, and keeps what was sent.

use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures::StreamExt;
use serde_json::{Value, json};
use spillway_engine::SystemClock;
use spillway_router::{Backend, BackendError, BackendId};
use spillway_types::{
    ChatMessage, ChatPrompt, GenerateEvent, GenerateRequest, ModelId, OutputFormat, Priority, Prompt,
    RequestId, Role, Sampling, SamplingParams, Seed,
};

use crate::bedrock::{BedrockBackend, BedrockConfig, BedrockCredentials, BedrockModel};

/// What a connection answers.
#[derive(Debug, Clone)]
pub(super) struct Canned {
    status: u16,
    body: Vec<u8>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Canned {
    /// Answers with these bytes.
    pub(super) fn new(body: Vec<u8>) -> Self {
        Self { status: 200, body, sent: Arc::default() }
    }

    /// The bodies of the requests so far, as JSON with its objects in order of their keys.
    pub(super) fn sent(&self) -> Vec<Value> {
        let sent = self.sent.lock().expect("no test has failed with it");
        sent.iter().map(|body| sorted(serde_json::from_slice(body).expect("the SDK sends JSON"))).collect()
    }

    fn into_client(self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self);
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().expect("the body is in memory").to_vec();
        self.sent.lock().expect("no test has failed with it").push(body);
        let status = self.status.try_into().expect("it is a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.body.clone()))))
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        value => value,
    }
}

/// A target of this model.
pub(super) fn target(model: &str) -> BedrockConfig {
    let model = BedrockModel::parse(model).expect("it is a model's name");
    let keys = Credentials::new("id", "secret", None, None, "test");
    BedrockConfig {
        credentials: BedrockCredentials::Provider(SharedCredentialsProvider::new(keys)),
        ..BedrockConfig::new(BackendId::new("cloud"), "eu-central-1", model)
    }
}

/// A backend of this target over such a connection.
pub(super) async fn backend(config: BedrockConfig, connection: &Canned) -> BedrockBackend {
    let clock = Arc::new(SystemClock::start());
    let backend = BedrockBackend::connect_over(config, clock, connection.clone().into_client()).await;
    backend.expect("the target can be")
}

/// A conversation of these messages.
pub(super) fn chat(messages: Vec<ChatMessage>) -> GenerateRequest {
    let sampling = Sampling::new(1.0, None, 1.0, 0.0).expect("they are in range");
    GenerateRequest {
        request_id: RequestId(1),
        model: ModelId::new("cloud"),
        prompt: Prompt::Chat(ChatPrompt::new(messages)),
        truncation: None,
        params: SamplingParams::new(sampling, Seed(0)),
        format: OutputFormat::Text,
        reasoning_effort: None,
        priority: Priority::Normal,
        cache_salt: None,
    }
}

/// What the user says.
pub(super) fn user(text: &str) -> ChatMessage {
    ChatMessage::new(Role::User, text)
}

/// The request's conversation, to be changed.
pub(super) fn prompt_of(request: &mut GenerateRequest) -> &mut ChatPrompt {
    match &mut request.prompt {
        Prompt::Chat(chat) => chat,
        Prompt::Text(_) | Prompt::Tokens(_) => panic!("it is a conversation"),
    }
}

/// The body that is sent for a request, by a stream.
pub(super) async fn body_of(config: BedrockConfig, request: GenerateRequest) -> Value {
    let connection = Canned::new(Vec::new());
    let backend = backend(config, &connection).await;
    drop(backend.generate(request).await.map_err(|error| panic!("it is sent, but: {error}")));
    connection.sent().pop().expect("one request was sent")
}

/// Everything that comes of a request.
pub(super) async fn answer_to(
    config: BedrockConfig,
    request: GenerateRequest,
    body: Vec<u8>,
) -> (Vec<GenerateEvent>, Option<BackendError>) {
    let backend = backend(config, &Canned::new(body)).await;
    let mut stream = match backend.generate(request).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

/// One event as it goes over the wire.
pub(super) fn frame(event_type: &str, payload: &Value) -> Vec<u8> {
    framed("event", ":event-type", event_type, payload)
}

/// One exception as it goes over the wire.
pub(super) fn exception(exception_type: &str, payload: &Value) -> Vec<u8> {
    framed("exception", ":exception-type", exception_type, payload)
}

fn framed(message_type: &str, header: &'static str, name: &str, payload: &Value) -> Vec<u8> {
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(Header::new(":message-type", text(message_type)))
        .add_header(Header::new(header, text(name)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("it fits into a frame");
    bytes
}

/// The frames of a written answer: `start`, `text I WORDS`, `stop REASON`, `usage IN OUT` and so on, one a line.
pub(super) fn frames(lines: &str) -> Vec<u8> {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(line_frame).collect()
}

fn line_frame(line: &str) -> Vec<u8> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let index = || first.parse::<u32>().expect("a block has a number");
    let delta =
        |delta: Value| frame("contentBlockDelta", &json!({"contentBlockIndex": index(), "delta": delta}));
    match word {
        "start" => frame("messageStart", &json!({"role": "assistant"})),
        "text" => delta(json!({"text": more})),
        "thought" => delta(json!({"reasoningContent": {"text": more}})),
        "signature" => delta(json!({"reasoningContent": {"signature": more}})),
        "hidden" => delta(json!({"reasoningContent": {"redactedContent": more}})),
        "call" => {
            let start = json!({"toolUse": {"toolUseId": format!("id-{first}"), "name": more}});
            frame("contentBlockStart", &json!({"contentBlockIndex": index(), "start": start}))
        }
        "input" => delta(json!({"toolUse": {"input": more}})),
        "end" => frame("contentBlockStop", &json!({"contentBlockIndex": index()})),
        "stop" => frame("messageStop", &json!({"stopReason": first})),
        "usage" => {
            let output: u32 = more.parse().expect("usage has two numbers");
            let usage =
                json!({"inputTokens": index(), "outputTokens": output, "totalTokens": index() + output});
            frame("metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}}))
        }
        "exception" => exception(first, &json!({"message": more})),
        _ => panic!("no frame is written `{line}`"),
    }
}

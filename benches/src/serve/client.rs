//! One streamed completion over HTTP, with the time of each piece.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use serde_json::{Value, json};

use super::args::{Args, Endpoint};
use super::reading::Reading;
use crate::dataset::Prompt;
use crate::sample::{Failure, FailureKind, Sample};
use crate::stopwatch::Stopwatch;

/// Longest part of an error's body that is told.
const MAX_BODY_CHARS: usize = 200;
/// Longest wait for what is not measured.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends requests to one server.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
    model: String,
    endpoint: Endpoint,
    max_tokens: u32,
    temperature: f64,
    ignore_eos: bool,
}

impl Client {
    pub(super) fn new(args: &Args, model: &str) -> anyhow::Result<Self> {
        let path = match args.endpoint {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
        };
        // A connection a request: some servers close idle ones just when the next request is on its way. No proxy: what
        // is measured is the server.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(args.timeout_secs))
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            url: format!("{}{path}", args.base_url.trim_end_matches('/')),
            api_key: args.api_key.clone(),
            model: model.to_owned(),
            endpoint: args.endpoint,
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            ignore_eos: !args.respect_eos,
        })
    }

    /// Sends one prompt and reads its answer to the end. `late` is by how much it was due before now.
    pub(super) async fn complete(&self, prompt: &Prompt, late: Duration) -> Result<Sample, Failure> {
        let mut request = self.http.post(&self.url).json(&self.body(prompt));
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let mut reading = Reading::new(Stopwatch::start(), late);
        let response = request.send().await.map_err(|error| failure(FailureKind::Connection, error))?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            let text: String = text.chars().take(MAX_BODY_CHARS).collect();
            return Err(Failure::new(FailureKind::Status(status.as_u16()), text));
        }
        let mut bytes = response.bytes_stream();
        while let Some(chunk) = bytes.next().await {
            reading.push(&chunk.map_err(|error| failure(FailureKind::BrokenOff, error))?)?;
        }
        reading.finish()
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": prompt.max_tokens.unwrap_or(self.max_tokens),
            "temperature": self.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        match self.endpoint {
            Endpoint::Chat => body["messages"] = json!([{"role": "user", "content": prompt.text}]),
            Endpoint::Completions => body["prompt"] = json!(prompt.text),
        }
        if self.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        body
    }
}

/// The kind of failure that an error of the HTTP client is, with all its causes.
fn failure(kind: FailureKind, error: reqwest::Error) -> Failure {
    let kind = if error.is_timeout() { FailureKind::Timeout } else { kind };
    Failure::new(kind, format!("{:#}", anyhow::Error::from(error)))
}

/// The name of the first model that the server lists.
pub(super) async fn first_model(args: &Args) -> anyhow::Result<String> {
    let list = get(args, "/v1/models").await?;
    let name = list["data"][0]["id"].as_str().context("the list of models is empty")?;
    Ok(name.to_owned())
}

/// The server's version, if it tells one as we and vLLM do.
pub(super) async fn version(args: &Args) -> Option<String> {
    get(args, "/version").await.ok()?["version"].as_str().map(str::to_owned)
}

async fn get(args: &Args, path: &str) -> anyhow::Result<Value> {
    let http = reqwest::Client::builder().timeout(LOOK_TIMEOUT).no_proxy().build()?;
    let mut request = http.get(format!("{}{path}", args.base_url.trim_end_matches('/')));
    if let Some(key) = &args.api_key {
        request = request.bearer_auth(key);
    }
    Ok(request.send().await?.error_for_status()?.json().await?)
}

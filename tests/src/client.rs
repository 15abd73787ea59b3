//! A client of a running server, and whole answers. Streams are in [`crate::events`].

use std::time::Duration;

use anyhow::bail;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::events::Events;

/// Longest time that one request may take. Only a server that hangs takes so long.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Sends requests to one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Client {
    /// A client of the server at `base`, as in `http://127.0.0.1:8000`. Proxies of the environment are passed by.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be set up.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        Self::trusting(base, None)
    }

    /// The same, for a server that speaks TLS with a certificate of its own: `certificate` is PEM.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be set up, or the certificate is none.
    pub fn trusting(base: &str, certificate: Option<&str>) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT);
        if let Some(certificate) = certificate {
            builder = builder.add_root_certificate(reqwest::Certificate::from_pem(certificate.as_bytes())?);
        }
        Ok(Self { http: builder.build()?, base: base.trim_end_matches('/').to_owned() })
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request that is still to be furnished and sent.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Reads a path.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        Reply::read(self.request(reqwest::Method::GET, path)).await
    }

    /// Posts JSON, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        Reply::read(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// Posts JSON that asks for a stream, and waits for the stream to begin.
    ///
    /// # Errors
    ///
    /// If the connection fails or the answer is no stream; the answer is shown.
    pub async fn open(&self, path: &str, body: &Value) -> anyhow::Result<Events> {
        match Events::open(self.request(reqwest::Method::POST, path).json(body)).await? {
            Ok(events) => Ok(events),
            Err(reply) => bail!("no stream but status {}: {}", reply.status, reply.text),
        }
    }
}

impl Reply {
    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    pub async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<Self> {
        Self::of(request.send().await?).await
    }

    /// Reads the rest of an answer that has begun.
    pub(crate) async fn of(response: reqwest::Response) -> anyhow::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { status, headers, text })
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("status {}, {error} in {:?}", self.status, self.text))
    }

    /// A header, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The texts of the choices of an answer.
    ///
    /// # Panics
    ///
    /// If it is no answer with choices.
    pub fn texts(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.json();
        let choices = body["choices"].as_array().unwrap_or_else(|| panic!("no choices in {body}"));
        let text = |choice: &Value| {
            choice["text"].as_str().or(choice["message"]["content"].as_str()).map(str::to_owned)
        };
        choices.iter().map(|choice| text(choice).unwrap_or_else(|| panic!("no text in {choice}"))).collect()
    }

    /// Why the first choice ended.
    ///
    /// # Panics
    ///
    /// If it is no answer with choices.
    pub fn finish_reason(&self) -> String {
        let body = self.json();
        body["choices"][0]["finish_reason"]
            .as_str()
            .unwrap_or_else(|| panic!("no reason in {body}"))
            .to_owned()
    }

    /// A count of an answer's usage, by its path as in `/prompt_tokens`.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn usage(&self, pointer: &str) -> u64 {
        let body = self.json();
        body["usage"]
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no {pointer} in {body}"))
    }
}

//! A client of a running server: whole answers, streams event by event, and metrics.
//!
//! It trusts nothing: what is no JSON, no event or no end is an error that shows what came.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::HeaderMap;
use serde_json::Value;

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

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A JSON document.
    Data(Value),
    /// The `[DONE]` that ends every stream.
    Done,
    /// A comment, which keeps the connection open.
    Comment(String),
}

/// The events of a stream, as they come. Dropping it hangs up.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    unread: Vec<u8>,
}

/// A stream that was read to its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Streamed {
    /// Text of each choice, and why it ended, by index.
    pub choices: BTreeMap<u64, (String, Option<String>)>,
    /// All documents, in order.
    pub chunks: Vec<Value>,
    /// Tokens, if they were asked for.
    pub usage: Option<Value>,
    /// The error that ended it.
    pub error: Option<Value>,
}

impl Client {
    /// A client of the server at `base`, as in `http://127.0.0.1:8000`. Proxies of the environment are passed by.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be set up.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
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

    async fn of(response: reqwest::Response) -> anyhow::Result<Self> {
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

impl Events {
    /// Sends a request that asks for a stream. An answer that is none is given back whole.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    pub async fn open(request: reqwest::RequestBuilder) -> anyhow::Result<Result<Self, Reply>> {
        let response = request.send().await?;
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if response.status() == 200 && kind == Some("text/event-stream") {
            return Ok(Ok(Self { response, unread: Vec::new() }));
        }
        Reply::of(response).await.map(Err)
    }

    /// The next event; none at the end of the connection.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or what comes is no event.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let rest = self.unread.split_off(end + 2);
                let event = std::mem::replace(&mut self.unread, rest);
                return read_event(event[..end].to_vec()).map(Some);
            }
            let Some(bytes) = self.response.chunk().await? else {
                ensure!(self.unread.is_empty(), "ended inside an event: {:?}", self.unread);
                return Ok(None);
            };
            self.unread.extend_from_slice(&bytes);
        }
    }

    /// The next event that brings text.
    ///
    /// # Errors
    ///
    /// If the stream ends before any, or breaks.
    pub async fn next_text(&mut self) -> anyhow::Result<String> {
        while let Some(event) = self.next().await? {
            if let Event::Data(chunk) = event
                && let Some(text) = text_of(&chunk["choices"][0]).filter(|text| !text.is_empty())
            {
                return Ok(text.to_owned());
            }
        }
        bail!("the stream ended without text")
    }

    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// If the stream breaks, or does not keep its order: a choice's text, its end once, the usage, `[DONE]` last.
    pub async fn collect(mut self) -> anyhow::Result<Streamed> {
        let mut streamed = Streamed::default();
        loop {
            match self.next().await?.with_context(|| format!("no [DONE] after {streamed:?}"))? {
                Event::Data(chunk) => streamed.push(chunk)?,
                Event::Comment(_) => {}
                Event::Done => break,
            }
        }
        if let Some(event) = self.next().await? {
            bail!("{event:?} after [DONE]");
        }
        Ok(streamed)
    }
}

impl Streamed {
    /// The texts of the choices.
    pub fn texts(&self) -> Vec<String> {
        self.choices.values().map(|(text, _)| text.clone()).collect()
    }

    fn push(&mut self, chunk: Value) -> anyhow::Result<()> {
        ensure!(self.error.is_none() && self.usage.is_none(), "{chunk} after the end");
        if let Some(error) = chunk.get("error") {
            self.error = Some(error.clone());
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().with_context(|| format!("no index in {chunk}"))?;
            let (text, reason) = self.choices.entry(index).or_default();
            ensure!(reason.is_none(), "{chunk} after the end of its choice");
            text.push_str(text_of(choice).unwrap_or_default());
            *reason = choice["finish_reason"].as_str().map(str::to_owned);
        }
        self.chunks.push(chunk);
        Ok(())
    }
}

fn text_of(choice: &Value) -> Option<&str> {
    choice["text"].as_str().or_else(|| choice["delta"]["content"].as_str())
}

fn read_event(bytes: Vec<u8>) -> anyhow::Result<Event> {
    let text = String::from_utf8(bytes).context("an event is not UTF-8")?;
    if let Some(comment) = text.strip_prefix(':') {
        return Ok(Event::Comment(comment.trim().to_owned()));
    }
    let data = text.strip_prefix("data: ").with_context(|| format!("no event: {text:?}"))?;
    if data == "[DONE]" {
        return Ok(Event::Done);
    }
    let value = serde_json::from_str(data).with_context(|| format!("an event is no JSON: {data:?}"))?;
    Ok(Event::Data(value))
}

//! Streams of server-sent events, as clients read them.
//!
//! They trust nothing: what is no JSON, no event or no end is an error that shows what came.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::client::Reply;

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

//! One streamed completion over HTTP, with the time of each piece.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use serde_json::{Value, json};

use super::args::{Args, Endpoint};
use super::stopwatch::Stopwatch;

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

/// What one request gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Completion {
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) output_tokens: u64,
    /// From sending to the first piece of text.
    pub(super) first_piece: Duration,
    /// Between one piece and the next.
    pub(super) gaps: Vec<Duration>,
    /// From sending to the end of the stream.
    pub(super) end_to_end: Duration,
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
            url: format!("{}{path}", args.url.trim_end_matches('/')),
            api_key: args.api_key.clone(),
            model: model.to_owned(),
            endpoint: args.endpoint,
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            ignore_eos: !args.respect_eos,
        })
    }

    /// Sends one prompt and reads its answer to the end.
    pub(super) async fn complete(&self, prompt: &str) -> anyhow::Result<Completion> {
        let mut request = self.http.post(&self.url).json(&self.body(prompt));
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let watch = Stopwatch::start();
        let response = request.send().await.context("the request could not be sent")?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            bail!("status {}: {}", status.as_u16(), text.chars().take(200).collect::<String>());
        }
        let mut reading = Reading::new(watch);
        let mut bytes = response.bytes_stream();
        while let Some(chunk) = bytes.next().await {
            reading.push(&chunk.context("the stream broke off")?)?;
        }
        reading.finish()
    }

    fn body(&self, prompt: &str) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        match self.endpoint {
            Endpoint::Chat => body["messages"] = json!([{"role": "user", "content": prompt}]),
            Endpoint::Completions => body["prompt"] = json!(prompt),
        }
        if self.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        body
    }
}

/// The name of the first model that the server lists.
pub(super) async fn first_model(url: &str, api_key: Option<&str>) -> anyhow::Result<String> {
    let mut request = reqwest::Client::new().get(format!("{}/v1/models", url.trim_end_matches('/')));
    if let Some(key) = api_key {
        request = request.bearer_auth(key);
    }
    let list: Value = request.send().await?.error_for_status()?.json().await?;
    let name = list["data"][0]["id"].as_str().context("the list of models is empty")?;
    Ok(name.to_owned())
}

/// A stream of server-sent events while it is read.
struct Reading {
    watch: Stopwatch,
    line: Vec<u8>,
    last_piece: Option<Duration>,
    num_pieces: u64,
    ended: bool,
    has_usage: bool,
    completion: Completion,
}

impl Reading {
    fn new(watch: Stopwatch) -> Self {
        Self {
            watch,
            line: Vec::new(),
            last_piece: None,
            num_pieces: 0,
            ended: false,
            has_usage: false,
            completion: Completion::default(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.line(line.strip_suffix(b"\r").unwrap_or(&line))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.ended = true;
            self.completion.end_to_end = self.watch.elapsed();
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data).context("an event is no JSON")?;
        if let Some(error) = event.get("error") {
            bail!("error event: {}", error["message"].as_str().unwrap_or("without a message"));
        }
        if has_text(&event) {
            self.piece();
        }
        if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
            self.has_usage = true;
            self.completion.prompt_tokens = usage["prompt_tokens"].as_u64().unwrap_or(0);
            self.completion.output_tokens = usage["completion_tokens"].as_u64().unwrap_or(0);
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
            self.completion.cached_tokens = cached.unwrap_or(0);
        }
        Ok(())
    }

    fn piece(&mut self) {
        let now = self.watch.elapsed();
        match self.last_piece.replace(now) {
            None => self.completion.first_piece = now,
            Some(last) => self.completion.gaps.push(now.saturating_sub(last)),
        }
        self.num_pieces += 1;
    }

    fn finish(mut self) -> anyhow::Result<Completion> {
        if !self.ended {
            bail!("the stream ended without [DONE]");
        }
        if self.num_pieces == 0 {
            bail!("the answer has no text");
        }
        if !self.has_usage {
            // Servers without usage in streams send a piece a token.
            self.completion.output_tokens = self.num_pieces;
        }
        Ok(self.completion)
    }
}

fn has_text(event: &Value) -> bool {
    let choice = &event["choices"][0];
    let text = choice["delta"]["content"].as_str().or_else(|| choice["text"].as_str());
    text.is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Completion> {
        let mut reading = Reading::new(Stopwatch::start());
        for bytes in text.as_bytes().chunks(7) {
            reading.push(bytes)?;
        }
        reading.finish()
    }

    #[test]
    fn counts_pieces_and_usage_across_network_chunks() {
        let completion = read(concat!(
            ": keep-alive\n\n",
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n\n",
        ))
        .expect("the stream is whole");
        assert_eq!((completion.prompt_tokens, completion.output_tokens, completion.gaps.len()), (5, 2, 1));
    }

    #[test]
    fn a_stream_that_breaks_off_or_reports_an_error_is_no_completion() {
        let piece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
        assert!(read(piece).expect_err("no end").to_string().contains("[DONE]"));
        let error = format!("{piece}data: {{\"error\":{{\"message\":\"broke\"}}}}\n\n");
        assert!(read(&error).expect_err("an error").to_string().contains("broke"));
        assert!(read("data: [DONE]\n").expect_err("empty").to_string().contains("no text"));
    }
}

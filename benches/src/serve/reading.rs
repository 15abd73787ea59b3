//! Reads one streamed answer, with the time of each piece.
//!
//! A piece is an event with text. One that holds several tokens counts once among the gaps, as in vLLM's own bench; the
//! tokens are those of the usage, if the server sends one, else the pieces.

use std::time::Duration;

use serde_json::Value;

use crate::sample::{Failure, FailureKind, Sample};
use crate::stopwatch::Stopwatch;

/// A stream of server-sent events while it is read.
pub(super) struct Reading {
    watch: Stopwatch,
    line: Vec<u8>,
    last_piece: Option<Duration>,
    num_pieces: u64,
    ended: bool,
    has_usage: bool,
    sample: Sample,
}

impl Reading {
    pub(super) fn new(watch: Stopwatch, late: Duration) -> Self {
        Self {
            watch,
            line: Vec::new(),
            last_piece: None,
            num_pieces: 0,
            ended: false,
            has_usage: false,
            sample: Sample { late, ..Sample::default() },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
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

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.ended = true;
            self.sample.end_to_end = self.now();
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data)
            .map_err(|error| Failure::new(FailureKind::NoAnswer, format!("an event is no JSON: {error}")))?;
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            let message = error["message"].as_str().unwrap_or("without a message");
            return Err(Failure::new(FailureKind::ErrorEvent, message));
        }
        if has_text(&event) {
            self.piece();
        }
        if let Some(usage) = event.get("usage").filter(|usage| usage.is_object()) {
            self.has_usage = true;
            self.sample.prompt_tokens = usage["prompt_tokens"].as_u64().unwrap_or(0);
            self.sample.output_tokens = usage["completion_tokens"].as_u64().unwrap_or(0);
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
            self.sample.cached_tokens = cached.unwrap_or(0);
        }
        Ok(())
    }

    /// Time since the request was due.
    fn now(&self) -> Duration {
        self.watch.elapsed() + self.sample.late
    }

    fn piece(&mut self) {
        let now = self.now();
        match self.last_piece.replace(now) {
            None => self.sample.first_token = now,
            Some(last) => self.sample.gaps.push(now.saturating_sub(last)),
        }
        self.num_pieces += 1;
    }

    pub(super) fn finish(mut self) -> Result<Sample, Failure> {
        if !self.ended {
            return Err(Failure::new(FailureKind::BrokenOff, "the stream ended without [DONE]"));
        }
        if self.num_pieces == 0 {
            return Err(Failure::new(FailureKind::NoText, "the answer has no text"));
        }
        if !self.has_usage {
            // Servers without usage in streams send a piece a token.
            self.sample.output_tokens = self.num_pieces;
        }
        Ok(self.sample)
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

    fn read(text: &str) -> Result<Sample, Failure> {
        let mut reading = Reading::new(Stopwatch::start(), Duration::from_secs(5));
        for bytes in text.as_bytes().chunks(7) {
            reading.push(bytes)?;
        }
        reading.finish()
    }

    #[test]
    fn counts_pieces_and_usage_across_network_chunks() {
        let sample = read(concat!(
            ": keep-alive\n\n",
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
            "data: [DONE]\n\n",
        ))
        .expect("the stream is whole");
        assert_eq!((sample.prompt_tokens, sample.output_tokens, sample.gaps.len()), (5, 2, 1));
        // Times count from the moment at which the request was due.
        assert!(sample.first_token >= Duration::from_secs(5) && sample.end_to_end >= sample.first_token);
    }

    #[test]
    fn a_stream_that_breaks_off_or_reports_an_error_is_no_completion() {
        let piece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
        let kind = |text: &str| read(text).expect_err("no answer").kind;
        assert_eq!(kind(piece), FailureKind::BrokenOff);
        let error = format!("{piece}data: {{\"error\":{{\"message\":\"broke\"}}}}\n\n");
        assert_eq!(read(&error), Err(Failure::new(FailureKind::ErrorEvent, "broke")));
        assert_eq!(kind("data: [DONE]\n"), FailureKind::NoText);
        assert_eq!(kind("data: {\n"), FailureKind::NoAnswer);
    }
}

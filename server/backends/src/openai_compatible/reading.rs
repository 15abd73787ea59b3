//! From what a server answers to the events of a backend.
//!
//! # Invariants
//!
//! - Each choice ends once, and an answer ends when all have.
//! - A call is opened by its first event, with its id and its name, and by no other.

mod calls;
mod logprobs;

use spillway_router::ErrorClass;
use spillway_types::{
    FinishReason, GenerateEvent, ReasoningDelta, StopMatch, TextDelta, TokenId, ToolCallDelta, Usage,
};

use super::fault::{ErrorWords, Fault, malformed, of_event};
use super::wire;
use calls::OpenCalls;

/// Reads one answer, whole or chunk by chunk.
#[derive(Debug)]
pub(super) struct Reader {
    choices: Vec<OpenChoice>,
    usage: Option<wire::Usage>,
    has_begun: bool,
}

#[derive(Debug, Clone, Default)]
struct OpenChoice {
    /// Characters of its text so far.
    num_chars: u32,
    calls: OpenCalls,
    is_finished: bool,
}

impl Reader {
    /// Of an answer with so many choices.
    pub(super) fn new(num_choices: u32) -> Self {
        Self { choices: vec![OpenChoice::default(); num_choices as usize], usage: None, has_begun: false }
    }

    /// Reads a chunk, or a whole answer, and adds its events.
    pub(super) fn read(&mut self, json: &[u8], events: &mut impl Extend<GenerateEvent>) -> Result<(), Fault> {
        let answer: wire::Answer = serde_json::from_slice(json).map_err(|error| {
            // serde's own words could repeat what was generated.
            let (line, column) = (error.line(), error.column());
            malformed(format!("what it sent is no answer, from line {line}, column {column} on"))
        })?;
        let is_old_error = answer.object.as_deref() == Some("error");
        if is_old_error || answer.error.as_ref().is_some_and(|error| !error.is_null()) {
            return Err(of_event(&ErrorWords::read(json)));
        }
        // Some servers count as they go: the last word holds.
        self.usage = answer.usage.or(self.usage);
        for choice in answer.choices {
            self.has_begun = true;
            self.choice(choice, events)?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: wire::Choice, events: &mut impl Extend<GenerateEvent>) -> Result<(), Fault> {
        let (index, num_choices) = (choice.index, self.choices.len());
        let open = self
            .choices
            .get_mut(index as usize)
            .ok_or_else(|| malformed(format!("it answered choice {index}, {num_choices} were asked for")))?;
        let delta = choice.delta.unwrap_or_default();
        let thought = delta.reasoning_content.or(delta.reasoning).filter(|text| !text.is_empty());
        let thought = thought.map(|text| {
            let (signature, redacted) = (None, None);
            GenerateEvent::Reasoning(ReasoningDelta { choice: index, text, signature, redacted })
        });
        // A refusal is what the model says, in a field of its own.
        let text = choice.text.or(delta.content).or(delta.refusal).unwrap_or_default();
        let said = open.said(index, text, choice.logprobs)?;
        let calls: Vec<ToolCallDelta> = open.calls.read_all(index, delta.tool_calls.unwrap_or_default())?;
        if open.is_finished && (thought.is_some() || said.is_some() || !calls.is_empty()) {
            return Err(malformed(format!("it went on with choice {index} after its end")));
        }
        events.extend(thought.into_iter().chain(said.map(GenerateEvent::Delta)));
        events.extend(calls.into_iter().map(GenerateEvent::ToolCall));
        // Some servers repeat the reason in the chunk of the usage.
        if let Some(reason) = choice.finish_reason.filter(|_| !open.is_finished) {
            open.is_finished = true;
            let reason = finish_reason(&reason)?;
            events.extend([GenerateEvent::Finished {
                choice: index,
                reason,
                stop: stop(choice.stop_reason),
            }]);
        }
        Ok(())
    }

    /// Closes an answer that came to its end.
    pub(super) fn end(&self) -> Result<GenerateEvent, Fault> {
        if !self.has_begun {
            let message = "it answered well, but with nothing";
            return Err(Fault::new(ErrorClass::EmptyAnswer, "empty_answer", message));
        }
        if let Some(open) = self.choices.iter().position(|choice| !choice.is_finished) {
            return Err(missing_end(&format!("its answer ended without saying why choice {open} did")));
        }
        let Some(usage) = self.usage else {
            return Err(missing_end(
                "its answer ended without its usage, by which it is paid: `streaming = false` may help",
            ));
        };
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Ok(GenerateEvent::Done(Usage {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: cached.min(usage.prompt_tokens),
            cache_write_tokens: 0,
            completion_tokens: usage.completion_tokens,
        }))
    }

    /// What a stream is that stopped before its end.
    pub(super) fn cut(&self) -> Fault {
        if self.has_begun {
            missing_end("its stream ended without `[DONE]`")
        } else {
            Fault::new(ErrorClass::EmptyAnswer, "empty_answer", "its stream ended before it began")
        }
    }
}

impl OpenChoice {
    fn said(
        &mut self,
        choice: u32,
        text: String,
        logprobs: Option<wire::Logprobs>,
    ) -> Result<Option<TextDelta>, Fault> {
        let tokens = match logprobs {
            Some(logprobs) => logprobs::tokens(logprobs, self.num_chars)?,
            None => Vec::new(),
        };
        if text.is_empty() && tokens.is_empty() {
            return Ok(None);
        }
        self.num_chars = self.num_chars.saturating_add(text.chars().count() as u32);
        Ok(Some(TextDelta { choice, text, tokens }))
    }
}

fn missing_end(message: &str) -> Fault {
    Fault::new(ErrorClass::MissingEnd, "missing_end", message)
}

fn finish_reason(word: &str) -> Result<FinishReason, Fault> {
    match word {
        "stop" | "eos" | "eos_token" | "stop_sequence" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        "tool_calls" | "function_call" => Ok(FinishReason::ToolCalls),
        "content_filter" => Ok(FinishReason::ContentFilter),
        "abort" => {
            Err(Fault::new(ErrorClass::Unavailable, "aborted", "it aborted the answer: it may be closing"))
        }
        "error" => Err(Fault::new(ErrorClass::ModelError, "finish_error", "its model failed")),
        _ => Err(malformed("its answer ended for a reason that is not known here")),
    }
}

fn stop(reason: Option<serde_json::Value>) -> Option<StopMatch> {
    match reason? {
        serde_json::Value::String(text) => Some(StopMatch::Text(text)),
        other => other.as_u64().and_then(|id| u32::try_from(id).ok()).map(|id| StopMatch::Token(TokenId(id))),
    }
}

#[cfg(test)]
mod tests;

//! A chat's answer as chunks of a stream.

use std::collections::BTreeMap;

use spillway_api::openai::{
    ChatChunk, ChatChunkChoice, ChatDelta, ChunkUsage, FunctionChunk, MessageRole, ToolCallChunk, ToolKind,
};
use spillway_types::{AnswerToken, ReasoningDelta, ToolCallDelta};

use super::logprobs;
use crate::http::answer::{AnswerEvent, ChoiceEnd};
use crate::http::generation::AnswerHead;
use crate::http::params::{GenerationParams, StreamUsage};
use crate::http::sse::{ChunkFormat, json_line};
use crate::http::thoughts::Thoughts;

/// Writes the chunks of one answer.
pub(super) struct ChatChunks {
    head: AnswerHead,
    usage: StreamUsage,
    params: GenerationParams,
    echo: String,
    /// By choice.
    thoughts: BTreeMap<u32, Thoughts>,
}

impl ChatChunks {
    pub(super) fn new(head: AnswerHead, usage: StreamUsage, params: GenerationParams, echo: String) -> Self {
        Self { head, usage, params, echo, thoughts: BTreeMap::new() }
    }

    fn choice(&self, choice: ChatChunkChoice<'_>) -> String {
        self.chunk(vec![choice], self.usage.pending())
    }

    fn delta(&self, index: u32, delta: ChatDelta<'_>, tokens: &[AnswerToken]) -> String {
        let logprobs = if tokens.is_empty() { None } else { logprobs(&self.params, tokens) };
        self.choice(ChatChunkChoice { index, delta, logprobs, finish_reason: None, stop_reason: None })
    }

    /// Words as they come, and each block that must be sent back as soon as it is complete.
    fn reasoning(&mut self, delta: ReasoningDelta) -> Vec<String> {
        let (choice, words) = (delta.choice, delta.text.clone());
        let thinking_blocks = self.thoughts.entry(choice).or_default().add(delta);
        if words.is_empty() && thinking_blocks.is_empty() {
            return Vec::new();
        }
        let reasoning_content = (!words.is_empty()).then(|| words.into());
        let delta = ChatDelta { reasoning_content, thinking_blocks, ..ChatDelta::default() };
        vec![self.delta(choice, delta, &[])]
    }

    fn tool_call(&self, delta: ToolCallDelta) -> String {
        let (id, name) = delta.opening.unzip();
        let call = ToolCallChunk {
            index: delta.call,
            kind: id.is_some().then_some(ToolKind::Function),
            id: id.map(Into::into),
            function: FunctionChunk { name: name.map(Into::into), arguments: delta.arguments.into() },
        };
        self.delta(delta.choice, ChatDelta { tool_calls: vec![call], ..ChatDelta::default() }, &[])
    }

    fn finished(&mut self, index: u32, end: ChoiceEnd) -> Vec<String> {
        let open = self.thoughts.get_mut(&index).and_then(Thoughts::end);
        let block = open.map(|block| {
            self.delta(index, ChatDelta { thinking_blocks: vec![block], ..ChatDelta::default() }, &[])
        });
        let last = self.choice(ChatChunkChoice {
            index,
            delta: ChatDelta::default(),
            logprobs: None,
            finish_reason: Some(end.reason),
            stop_reason: end.stop,
        });
        block.into_iter().chain([last]).collect()
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice<'_>>, usage: ChunkUsage) -> String {
        json_line(&ChatChunk {
            id: &self.head.id,
            object: ChatChunk::OBJECT,
            created: self.head.created,
            model: &self.head.model,
            choices,
            usage,
        })
    }
}

impl ChunkFormat for ChatChunks {
    fn opening(&self, choice: u32) -> Vec<String> {
        let delta = ChatDelta {
            role: Some(MessageRole::Assistant),
            content: Some("".into()),
            ..ChatDelta::default()
        };
        let mut chunks = vec![self.delta(choice, delta, &[])];
        if !self.echo.is_empty() {
            chunks.push(self.delta(choice, text(&self.echo), &[]));
        }
        chunks
    }

    fn event(&mut self, event: AnswerEvent) -> Vec<String> {
        match event {
            // Only whole answers hold what is known of a prompt.
            AnswerEvent::Prompt { .. } | AnswerEvent::PromptScored { .. } => Vec::new(),
            AnswerEvent::Text { text, tokens, .. }
                if text.is_empty() && (self.params.sampling.logprobs.is_none() || tokens.is_empty()) =>
            {
                Vec::new()
            }
            AnswerEvent::Text { choice, text: new, tokens } => vec![self.delta(choice, text(&new), &tokens)],
            AnswerEvent::Reasoning(delta) => self.reasoning(delta),
            AnswerEvent::ToolCall(delta) => vec![self.tool_call(delta)],
            AnswerEvent::Finished { choice, end } => self.finished(choice, end),
            AnswerEvent::Done(bill) => {
                self.usage.total(bill.usage).map(|total| self.chunk(Vec::new(), total)).into_iter().collect()
            }
        }
    }
}

/// A delta of text alone.
fn text(text: &str) -> ChatDelta<'_> {
    ChatDelta { content: Some(text.into()), ..ChatDelta::default() }
}

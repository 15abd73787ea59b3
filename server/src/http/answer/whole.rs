//! Gathers the events of an answer until it is whole.

use std::collections::BTreeMap;

use futures::stream::StreamExt;
use spillway_api::openai::{FunctionCall, ThinkingBlock, ToolCall, ToolKind};
use spillway_types::{AnswerToken, PromptText, ReasoningDelta, ToolCallDelta};

use super::{AnswerError, AnswerEvent, Bill, ChoiceEnd, Expected, Source, events};
use crate::http::thoughts::Thoughts;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WholeAnswer {
    /// What was told of each prompt.
    pub(crate) prompts: Vec<PromptAnswer>,
    /// The choices of the first prompt, then those of the second, and so on.
    pub(crate) choices: Vec<ChoiceAnswer>,
    /// What it took.
    pub(crate) bill: Bill,
}

/// What was told of a prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PromptAnswer {
    pub(crate) text: Option<PromptText>,
    /// Its tokens from the second on.
    pub(crate) tokens: Vec<AnswerToken>,
}

/// A choice, complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChoiceAnswer {
    pub(crate) text: String,
    pub(crate) tokens: Vec<AnswerToken>,
    /// What was thought, in words.
    pub(crate) thoughts: String,
    /// The same in blocks, if they must be sent back as they are.
    pub(crate) thinking_blocks: Vec<ThinkingBlock>,
    /// In their order.
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) end: ChoiceEnd,
}

impl ChoiceAnswer {
    /// The mean log-probability of its tokens.
    fn mean_logprob(&self) -> f64 {
        let sum: f64 = self.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        sum / self.tokens.len().max(1) as f64
    }
}

impl WholeAnswer {
    /// Of every `num_each` choices keeps the `num_best` with the highest log-probability per token, best first; of equals
    /// the lower index first. If all are kept, they stay in their order.
    pub(crate) fn keep_best(&mut self, num_each: u32, num_best: u32) {
        if num_each <= num_best {
            return;
        }
        let mut kept = Vec::with_capacity(self.choices.len());
        for of_prompt in self.choices.chunks_mut(num_each as usize) {
            of_prompt.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
            kept.extend_from_slice(&of_prompt[..of_prompt.len().min(num_best as usize)]);
        }
        self.choices = kept;
    }
}

/// A choice that is being read.
#[derive(Debug, Clone, Default)]
struct OpenChoice {
    text: String,
    tokens: Vec<AnswerToken>,
    words: String,
    thoughts: Thoughts,
    thinking_blocks: Vec<ThinkingBlock>,
    /// By their place among the calls.
    tool_calls: BTreeMap<u32, ToolCall>,
    end: Option<ChoiceEnd>,
}

impl OpenChoice {
    /// The reader of events has made sure that a call is begun once and before all else of it.
    fn call(&mut self, delta: ToolCallDelta) {
        let call = self.tool_calls.entry(delta.call).or_insert_with(|| {
            let (id, name) = delta.opening.unwrap_or_default();
            let function = FunctionCall { name, arguments: String::new() };
            ToolCall { id, kind: ToolKind::Function, function }
        });
        call.function.arguments.push_str(&delta.arguments);
    }

    fn think(&mut self, delta: ReasoningDelta) {
        self.words.push_str(&delta.text);
        self.thinking_blocks.extend(self.thoughts.add(delta));
    }

    /// The choice, if it has ended.
    fn close(mut self) -> Option<ChoiceAnswer> {
        self.thinking_blocks.extend(self.thoughts.end());
        Some(ChoiceAnswer {
            text: self.text,
            tokens: self.tokens,
            thoughts: self.words,
            thinking_blocks: self.thinking_blocks,
            tool_calls: self.tool_calls.into_values().collect(),
            end: self.end?,
        })
    }
}

/// An answer that is being read.
struct OpenAnswer {
    num_choices_each: u32,
    prompts: Vec<PromptAnswer>,
    choices: Vec<OpenChoice>,
}

impl OpenAnswer {
    fn new(expected: Expected) -> Self {
        Self {
            num_choices_each: expected.num_choices_each,
            prompts: vec![PromptAnswer::default(); expected.num_prompts as usize],
            choices: vec![OpenChoice::default(); expected.num_choices() as usize],
        }
    }

    fn prompt(&mut self, choice: u32) -> Result<&mut PromptAnswer, AnswerError> {
        self.prompts.get_mut((choice / self.num_choices_each) as usize).ok_or(UNKNOWN_CHOICE)
    }

    fn choice(&mut self, choice: u32) -> Result<&mut OpenChoice, AnswerError> {
        self.choices.get_mut(choice as usize).ok_or(UNKNOWN_CHOICE)
    }

    /// Adds an event; gives the bill with the last one.
    fn add(&mut self, event: AnswerEvent) -> Result<Option<Bill>, AnswerError> {
        match event {
            AnswerEvent::Prompt { choice, prompt } => self.prompt(choice)?.text = Some(prompt),
            AnswerEvent::PromptScored { choice, tokens } => self.prompt(choice)?.tokens.extend(tokens),
            AnswerEvent::Text { choice, text, tokens } => {
                let choice = self.choice(choice)?;
                choice.text.push_str(&text);
                choice.tokens.extend(tokens);
            }
            AnswerEvent::Reasoning(delta) => self.choice(delta.choice)?.think(delta),
            AnswerEvent::ToolCall(delta) => self.choice(delta.choice)?.call(delta),
            AnswerEvent::Finished { choice, end } => self.choice(choice)?.end = Some(end),
            AnswerEvent::Done(bill) => return Ok(Some(bill)),
        }
        Ok(None)
    }
}

const UNKNOWN_CHOICE: AnswerError =
    AnswerError::Protocol { fault: "answered a choice that was not asked for" };

/// Waits for the whole answer.
pub(crate) async fn collect(source: Source) -> Result<WholeAnswer, AnswerError> {
    let mut answer = OpenAnswer::new(source.expected);
    let mut events = Box::pin(events(source));
    while let Some(event) = events.next().await {
        let Some(bill) = answer.add(event?)? else { continue };
        let choices: Option<Vec<_>> = answer.choices.into_iter().map(OpenChoice::close).collect();
        let choices = choices.ok_or(AnswerError::Protocol { fault: "left choices unfinished" })?;
        return Ok(WholeAnswer { prompts: answer.prompts, choices, bill });
    }
    Err(AnswerError::Protocol { fault: "ended the answer too early" })
}

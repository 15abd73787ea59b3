//! Reads the events of an answer, checks that they come in order, and tells them in the house's terms.
//!
//! A state machine without a clock and without a connection: `stream` feeds it.
//!
//! # Invariants
//!
//! - The end is told only with the usage, which comes last: so an answer never seems complete that is not.
//! - An event that breaks the rules ends the answer with an error, and nothing of that event is told.

use std::collections::{HashMap, VecDeque};
use std::mem;

use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ContentBlockStart, ConverseStreamOutput, ReasoningContentBlockDelta, StopReason,
    TokenUsage, ToolUseBlockStart,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_router::ErrorClass;
use spillway_types::{
    FinishReason, GenerateEvent, ReasoningDelta, StopMatch, TextDelta, ToolCallDelta, Usage,
};

use super::fault::Fault;
use super::request::{CallLimit, Reading};
use super::stop::{self, ForcedJson, Held};
use super::usage;

/// Most blocks of an answer; real ones have a handful.
const MAX_BLOCKS: usize = 1024;

/// An answer so far.
#[derive(Debug)]
pub(super) struct Answer {
    reading: Reading,
    request_id: Option<String>,
    state: State,
    blocks: HashMap<i32, Block>,
    num_calls: u32,
    /// What the client gets of it so far.
    told: Told,
    json: ForcedJson,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Nothing has come.
    Expected,
    /// The message has begun.
    Open,
    /// It has ended; only the usage is missing.
    Stopped(StopReason),
    /// It is complete.
    Done(Usage),
}

/// Whether there is anything of an answer for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Content,
}

/// A block of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    /// Text beside an answer that is forced into JSON: it is no part of it.
    Aside,
    Reasoning,
    /// A call of the client's tool.
    Call {
        call: u32,
        arguments: Arguments,
    },
    /// A call beyond the one that the client wants.
    Surplus,
    /// The call of our own tool, whose arguments are the text.
    Json {
        arguments: Arguments,
    },
    Closed,
}

/// Whether any of a call's arguments have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Awaited,
    Begun,
}

impl Answer {
    /// An answer whose events are still to come; AWS calls its request so.
    pub(super) fn new(reading: Reading, request_id: Option<String>) -> Self {
        let json = if reading.answer_tool.is_some() { ForcedJson::Missing } else { ForcedJson::NotAsked };
        Self {
            reading,
            request_id,
            state: State::Expected,
            blocks: HashMap::new(),
            num_calls: 0,
            told: Told::Nothing,
            json,
        }
    }

    /// What AWS calls its request.
    pub(super) fn request_id(&self) -> Option<String> {
        self.request_id.clone()
    }

    /// Whether the model has begun to write.
    pub(super) fn has_begun(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether only the usage is missing.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped(_))
    }

    /// The usage, if the answer is complete.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self.state {
            State::Done(usage) => Some(usage),
            State::Expected | State::Open | State::Stopped(_) => None,
        }
    }

    /// Takes the next event and appends what it means for the client.
    pub(super) fn read(
        &mut self,
        event: ConverseStreamOutput,
        told: &mut VecDeque<GenerateEvent>,
    ) -> Result<(), Fault> {
        match event {
            ConverseStreamOutput::MessageStart(_) => {
                if self.state != State::Expected {
                    return Err(out_of_order("the message begins twice"));
                }
                self.state = State::Open;
                told.push_back(GenerateEvent::Started {
                    prompt_tokens: None,
                    provider_request_id: self.request_id.clone(),
                });
                Ok(())
            }
            ConverseStreamOutput::ContentBlockStart(event) => {
                self.check_open()?;
                match event.start {
                    Some(ContentBlockStart::ToolUse(start)) => {
                        self.start_call(event.content_block_index, &start, told)
                    }
                    Some(ContentBlockStart::Image(_)) => Err(unsupported("a picture")),
                    Some(_) | None => Ok(()),
                }
            }
            ConverseStreamOutput::ContentBlockDelta(event) => {
                self.check_open()?;
                match event.delta {
                    Some(delta) => self.delta(event.content_block_index, delta, told),
                    None => Ok(()),
                }
            }
            ConverseStreamOutput::ContentBlockStop(event) => {
                self.check_open()?;
                self.close(event.content_block_index, told);
                Ok(())
            }
            ConverseStreamOutput::MessageStop(event) => {
                self.check_open()?;
                let is_open_call = |block: &Block| matches!(block, Block::Call { .. } | Block::Json { .. });
                let may_be_cut = matches!(
                    event.stop_reason,
                    StopReason::MaxTokens | StopReason::ModelContextWindowExceeded
                );
                if !may_be_cut && self.blocks.values().any(is_open_call) {
                    return Err(out_of_order("the message ends within a call"));
                }
                self.state = State::Stopped(event.stop_reason);
                Ok(())
            }
            ConverseStreamOutput::Metadata(event) => self.metadata(event.usage.as_ref(), told),
            // AWS adds events; those that are not known here say nothing that a client of ours could be told.
            _ => Ok(()),
        }
    }

    /// What it means that nothing more comes.
    pub(super) fn cut_short(&self) -> Fault {
        match self.state {
            State::Expected => {
                Fault::new(ErrorClass::EmptyAnswer, "stream_empty", "the answer has no events")
            }
            State::Open => Fault::new(
                ErrorClass::MissingEnd,
                "stream_truncated",
                "the answer ended before its message did",
            ),
            State::Stopped(_) | State::Done(_) => missing_usage(),
        }
    }

    fn check_open(&self) -> Result<(), Fault> {
        match self.state {
            State::Open => Ok(()),
            State::Expected => Err(out_of_order("content comes before the message begins")),
            State::Stopped(_) | State::Done(_) => {
                Err(out_of_order("content comes after the message has ended"))
            }
        }
    }

    fn start_call(
        &mut self,
        index: i32,
        start: &ToolUseBlockStart,
        told: &mut VecDeque<GenerateEvent>,
    ) -> Result<(), Fault> {
        if self.blocks.contains_key(&index) {
            return Err(out_of_order("a block begins twice"));
        }
        let arguments = Arguments::Awaited;
        let block = if self.reading.answer_tool.as_deref() == Some(start.name()) {
            match mem::replace(&mut self.json, ForcedJson::Given) {
                ForcedJson::Given => Block::Surplus,
                ForcedJson::Missing | ForcedJson::NotAsked => Block::Json { arguments },
            }
        } else if self.num_calls > 0 && self.reading.calls == CallLimit::One {
            Block::Surplus
        } else {
            let call = self.num_calls;
            self.num_calls += 1;
            let opening =
                Some((start.tool_use_id().to_owned(), self.reading.names.client(start.name()).to_owned()));
            self.tell(
                told,
                GenerateEvent::ToolCall(ToolCallDelta { choice: 0, call, opening, arguments: String::new() }),
            );
            Block::Call { call, arguments }
        };
        self.insert(index, block)
    }

    fn insert(&mut self, index: i32, block: Block) -> Result<(), Fault> {
        if self.blocks.len() >= MAX_BLOCKS {
            let message = format!("the answer has more than {MAX_BLOCKS} blocks");
            return Err(Fault::new(ErrorClass::Malformed, "too_many_blocks", message));
        }
        self.blocks.insert(index, block);
        Ok(())
    }

    /// The block of a delta. Only calls are announced; text and thinking begin with their first words.
    fn block_of(&mut self, index: i32, delta: &ContentBlockDelta) -> Result<Block, Fault> {
        if let Some(block) = self.blocks.get(&index) {
            return Ok(*block);
        }
        let block = match delta {
            ContentBlockDelta::Text(_) if self.json == ForcedJson::NotAsked => Block::Text,
            ContentBlockDelta::ReasoningContent(_) => Block::Reasoning,
            ContentBlockDelta::ToolUse(_) => return Err(out_of_order("arguments come before their call")),
            ContentBlockDelta::Image(_) => return Err(unsupported("a picture")),
            ContentBlockDelta::ToolResult(_) => return Err(unsupported("a tool's result")),
            // Text beside forced JSON, sources of a text, and what AWS will think of next.
            _ => Block::Aside,
        };
        self.insert(index, block)?;
        Ok(block)
    }

    fn delta(
        &mut self,
        index: i32,
        delta: ContentBlockDelta,
        told: &mut VecDeque<GenerateEvent>,
    ) -> Result<(), Fault> {
        let block = self.block_of(index, &delta)?;
        match (block, delta) {
            (Block::Text, ContentBlockDelta::Text(text)) => {
                self.tell_text(text, told);
                Ok(())
            }
            (Block::Reasoning, ContentBlockDelta::ReasoningContent(delta)) => {
                if let Some(delta) = reasoning(delta) {
                    self.tell(told, GenerateEvent::Reasoning(delta));
                }
                Ok(())
            }
            (Block::Call { call, .. }, ContentBlockDelta::ToolUse(delta)) => {
                if !delta.input.is_empty() {
                    self.blocks.insert(index, Block::Call { call, arguments: Arguments::Begun });
                    self.tell_arguments(call, delta.input, told);
                }
                Ok(())
            }
            (Block::Json { .. }, ContentBlockDelta::ToolUse(delta)) => {
                if !delta.input.is_empty() {
                    self.blocks.insert(index, Block::Json { arguments: Arguments::Begun });
                    self.tell_text(delta.input, told);
                }
                Ok(())
            }
            (Block::Surplus, ContentBlockDelta::ToolUse(_)) | (Block::Aside, ContentBlockDelta::Text(_)) => {
                Ok(())
            }
            (_, ContentBlockDelta::Citation(_)) => Ok(()),
            (Block::Closed, _) => Err(out_of_order("content comes after its block has ended")),
            (
                _,
                ContentBlockDelta::Text(_)
                | ContentBlockDelta::ReasoningContent(_)
                | ContentBlockDelta::ToolUse(_),
            ) => Err(out_of_order("content of one kind comes in a block of another")),
            (_, ContentBlockDelta::Image(_)) => Err(unsupported("a picture")),
            (_, _) => Ok(()),
        }
    }

    /// A call without arguments says nothing at all, where OpenAI's clients want an empty object.
    fn close(&mut self, index: i32, told: &mut VecDeque<GenerateEvent>) {
        match self.blocks.insert(index, Block::Closed) {
            Some(Block::Call { call, arguments: Arguments::Awaited }) => {
                self.tell_arguments(call, "{}".to_owned(), told);
            }
            Some(Block::Json { arguments: Arguments::Awaited }) => self.tell_text("{}".to_owned(), told),
            Some(_) | None => {}
        }
    }

    fn metadata(
        &mut self,
        counted: Option<&TokenUsage>,
        told: &mut VecDeque<GenerateEvent>,
    ) -> Result<(), Fault> {
        let State::Stopped(reason) = &self.state else {
            let message = "the usage comes before the message has ended";
            return Err(Fault::new(ErrorClass::Malformed, "metadata_before_stop", message));
        };
        let usage = usage::usage(counted.ok_or_else(missing_usage)?);
        // Where there is no usage the SDK fills in zeros, and every prompt has tokens.
        if usage == Usage::default() {
            return Err(missing_usage());
        }
        let held = Held { num_calls: self.num_calls, json: self.json };
        let finish = stop::finish_reason(reason, held).map_err(|fault| fault.billed(usage))?;
        if finish == FinishReason::Stop && self.told == Told::Nothing && usage.completion_tokens == 0 {
            let empty = Fault::new(ErrorClass::EmptyAnswer, "answer_empty", "the answer has no content");
            return Err(empty.billed(usage));
        }
        let stop = match reason {
            StopReason::StopSequence => self.reading.only_stop.clone().map(StopMatch::Text),
            _ => None,
        };
        told.push_back(GenerateEvent::Finished { choice: 0, reason: finish, stop });
        told.push_back(GenerateEvent::Done(usage));
        self.state = State::Done(usage);
        Ok(())
    }

    fn tell(&mut self, told: &mut VecDeque<GenerateEvent>, event: GenerateEvent) {
        self.told = Told::Content;
        told.push_back(event);
    }

    fn tell_text(&mut self, text: String, told: &mut VecDeque<GenerateEvent>) {
        if !text.is_empty() {
            self.tell(told, GenerateEvent::Delta(TextDelta { choice: 0, text, tokens: Vec::new() }));
        }
    }

    fn tell_arguments(&mut self, call: u32, arguments: String, told: &mut VecDeque<GenerateEvent>) {
        self.tell(told, GenerateEvent::ToolCall(ToolCallDelta { choice: 0, call, opening: None, arguments }));
    }
}

/// A piece of thinking; none if it is empty or of a kind that is not known here.
fn reasoning(delta: ReasoningContentBlockDelta) -> Option<ReasoningDelta> {
    let nothing = ReasoningDelta { choice: 0, text: String::new(), signature: None, redacted: None };
    match delta {
        ReasoningContentBlockDelta::Text(text) => {
            (!text.is_empty()).then_some(ReasoningDelta { text, ..nothing })
        }
        ReasoningContentBlockDelta::Signature(signature) => {
            Some(ReasoningDelta { signature: Some(signature), ..nothing })
        }
        ReasoningContentBlockDelta::RedactedContent(hidden) => {
            Some(ReasoningDelta { redacted: Some(BASE64.encode(hidden.as_ref())), ..nothing })
        }
        _ => None,
    }
}

fn out_of_order(message: &'static str) -> Fault {
    Fault::new(ErrorClass::Malformed, "stream_out_of_order", message)
}

fn unsupported(what: &str) -> Fault {
    Fault::new(ErrorClass::MalformedOutput, "unsupported_content", format!("the answer holds {what}"))
}

pub(super) fn missing_usage() -> Fault {
    Fault::new(ErrorClass::MissingEnd, "metadata_missing", "the answer ended without its usage")
}

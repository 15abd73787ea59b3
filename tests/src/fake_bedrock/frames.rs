//! Events of a stream as they go over the wire.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::{Value, json};
use spillway_types::Usage;

use super::answer::{self, Block};
use super::refusal::Refusal;

/// A frame, and how many tokens come with it.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) num_tokens: u32,
}

impl Frame {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, num_tokens: 0 }
    }
}

pub(super) fn start() -> Frame {
    event("messageStart", &json!({"role": "assistant"}))
}

pub(super) fn stop(reason: &str) -> Frame {
    event("messageStop", &json!({"stopReason": reason}))
}

pub(super) fn metadata(usage: &Usage) -> Frame {
    event("metadata", &json!({"usage": answer::usage_json(usage), "metrics": {"latencyMs": 1}}))
}

/// The frames of a block: a word each, a call's arguments in two halves.
pub(super) fn block(index: usize, block: &Block) -> Vec<Frame> {
    let delta =
        |delta: Value| event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}));
    let mut frames = Vec::new();
    match block {
        Block::Text(words) => frames.extend(spaced(words).map(|text| token(delta(json!({"text": text}))))),
        Block::Thought(words) => {
            let thought = |text: String| delta(json!({"reasoningContent": {"text": text}}));
            frames.extend(spaced(words).map(|text| token(thought(text))));
            frames.push(delta(json!({"reasoningContent": {"signature": "c2lnbmVk"}})));
        }
        Block::Call { id, name, input } => {
            let start = json!({"toolUse": {"toolUseId": id, "name": name}});
            frames.push(event("contentBlockStart", &json!({"contentBlockIndex": index, "start": start})));
            let text = input.to_string();
            let (first, second) = text.split_at(text.len() / 2);
            for half in [first, second] {
                frames.push(delta(json!({"toolUse": {"input": half}})));
            }
            if let Some(last) = frames.last_mut() {
                last.num_tokens = block.num_tokens();
            }
        }
    }
    frames.push(event("contentBlockStop", &json!({"contentBlockIndex": index})));
    frames
}

fn token(frame: Frame) -> Frame {
    Frame { num_tokens: 1, ..frame }
}

/// Words with a space before all but the first.
fn spaced(words: &[String]) -> impl Iterator<Item = String> {
    words
        .iter()
        .enumerate()
        .map(|(word_idx, word)| if word_idx == 0 { word.clone() } else { format!(" {word}") })
}

fn event(event_type: &str, payload: &Value) -> Frame {
    Frame::new(framed("event", ":event-type", event_type, payload))
}

pub(super) fn exception(refusal: &Refusal) -> Frame {
    let payload = json!({"message": refusal.message});
    Frame::new(framed("exception", ":exception-type", &refusal.exception_type(), &payload))
}

fn framed(message_type: &str, header: &'static str, name: &str, payload: &Value) -> Vec<u8> {
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(Header::new(":message-type", text(message_type)))
        .add_header(Header::new(header, text(name)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("it fits into a frame");
    bytes
}

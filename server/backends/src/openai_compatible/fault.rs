//! What goes wrong with a server, and what may be done about it.
//!
//! What a server says of an error may repeat the prompt, so of its words only a code is passed on, and its message where
//! the request was at fault and the message repeats nothing of it. The statuses and codes are those of OpenAI, vLLM,
//! llama.cpp and Spillway.

mod body;
mod retry_after;
mod status;

use spillway_router::ErrorClass;

pub(super) use crate::fault::Fault;
pub(super) use body::ErrorWords;
pub(super) use retry_after::retry_after;
pub(super) use status::{of_event, of_status, request_id};

/// What came is not what the protocol says.
pub(super) fn malformed(message: impl Into<String>) -> Fault {
    Fault::new(ErrorClass::Malformed, "malformed_answer", message)
}

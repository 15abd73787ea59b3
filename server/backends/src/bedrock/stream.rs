//! The stream of an answer: waits for its events, each only so long, and hands on what they mean.
//!
//! Dropped, it drops the SDK's receiver, which closes the connection or resets its HTTP/2 stream: the model stops.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use spillway_router::{BackendError, BackendId, ErrorClass, Progress, TokenStream};
use spillway_types::GenerateEvent;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Answer};
use super::config::BedrockTimeouts;
use super::errors;
use super::fault::Fault;
use super::quota::Reservation;
use super::usage;

/// Longest wait for the usage once the message has ended.
const MAX_METADATA_WAIT: Duration = Duration::from_secs(10);

/// The SDK's side of a stream.
pub(super) type Events = EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>;

/// When a call has to have come how far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    first_token: Instant,
    total: Instant,
    idle: Duration,
}

impl Deadlines {
    /// Those of a call that begins now.
    pub(super) fn new(timeouts: &BedrockTimeouts) -> Self {
        let now = Instant::now();
        Self { first_token: now + timeouts.first_token, total: now + timeouts.total, idle: timeouts.idle }
    }

    /// Until when the answer must begin, and what it means if it does not.
    pub(super) fn first(&self) -> (Instant, Fault) {
        if self.total <= self.first_token { self.last() } else { (self.first_token, late_first_token()) }
    }

    /// Until when all must be over.
    fn last(&self) -> (Instant, Fault) {
        (self.total, Fault::new(ErrorClass::TotalTimeout, "total_timeout", "the answer took too long"))
    }

    /// Until when the next event must come.
    fn next(&self, answer: &Answer, last_event: Instant) -> (Instant, Fault) {
        let (deadline, fault) = if answer.is_stopped() {
            (last_event + MAX_METADATA_WAIT.min(self.idle), answer::missing_usage())
        } else if answer.has_begun() {
            let message = "the answer fell silent";
            (last_event + self.idle, Fault::new(ErrorClass::IdleTimeout, "idle_timeout", message))
        } else {
            (self.first_token, late_first_token())
        };
        if self.total <= deadline { self.last() } else { (deadline, fault) }
    }
}

fn late_first_token() -> Fault {
    Fault::new(ErrorClass::FirstTokenTimeout, "first_token_timeout", "no first token in time")
}

/// A call among those that are under way, for as long as this lives.
#[derive(Debug)]
struct Running(Arc<AtomicU32>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// What a call holds while it is under way.
pub(super) struct Lease {
    backend: BackendId,
    /// Dropped with the call.
    _running: Running,
    reservation: Option<Reservation>,
    output_burndown: u32,
}

impl Lease {
    /// Counts a call in.
    pub(super) fn new(
        backend: BackendId,
        num_running: &Arc<AtomicU32>,
        reservation: Option<Reservation>,
        output_burndown: u32,
    ) -> Self {
        num_running.fetch_add(1, Relaxed);
        Self { backend, _running: Running(Arc::clone(num_running)), reservation, output_burndown }
    }

    /// Puts the quota back: Bedrock did not take the call.
    pub(super) fn release(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.release();
        }
    }

    /// Puts back the quota that was not used.
    fn settle(&mut self, used: &spillway_types::Usage) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(usage::quota_tokens(used, self.output_burndown));
        }
    }
}

/// An answer that comes event by event.
pub(super) struct AnswerStream {
    /// Dropped at the end, so that the connection is let go at once.
    events: Option<Events>,
    answer: Answer,
    told: VecDeque<GenerateEvent>,
    deadlines: Deadlines,
    last_event: Instant,
    progress: Progress,
    lease: Lease,
}

impl AnswerStream {
    /// An answer whose events are still to come.
    pub(super) fn new(events: Events, answer: Answer, deadlines: Deadlines, lease: Lease) -> Self {
        Self {
            events: Some(events),
            answer,
            told: VecDeque::new(),
            deadlines,
            last_event: Instant::now(),
            progress: Progress::NothingSent,
            lease,
        }
    }

    /// As the router reads it.
    pub(super) fn into_stream(self) -> TokenStream {
        Box::pin(futures::stream::unfold(self, |mut stream| async move {
            let item = stream.next().await?;
            Some((item, stream))
        }))
    }

    async fn next(&mut self) -> Option<Result<GenerateEvent, BackendError>> {
        loop {
            if let Some(event) = self.told.pop_front() {
                if is_content(&event) {
                    self.progress = Progress::ContentSent;
                }
                return Some(Ok(event));
            }
            self.events.as_ref()?;
            if let Err(fault) = self.step().await {
                self.events = None;
                self.told.clear();
                let request_id = fault.request_id.clone().or_else(|| self.answer.request_id());
                return Some(Err(Fault { request_id, ..fault }.of(&self.lease.backend, self.progress)));
            }
        }
    }

    /// Reads one event.
    async fn step(&mut self) -> Result<(), Fault> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let (deadline, late) = self.deadlines.next(&self.answer, self.last_event);
        let event = timeout_at(deadline, events.recv()).await.map_err(|_| late)?;
        self.last_event = Instant::now();
        let Some(event) = event.map_err(|error| errors::of_frame(&error))? else {
            return Err(self.answer.cut_short());
        };
        self.answer.read(event, &mut self.told)?;
        if let Some(usage) = self.answer.usage() {
            self.lease.settle(&usage);
            self.events = None;
        }
        Ok(())
    }
}

/// An answer that came at once, as a stream. Nothing of it is told if any of it is wrong.
pub(super) fn of_whole(
    events: Vec<ConverseStreamOutput>,
    mut answer: Answer,
    mut lease: Lease,
) -> Result<TokenStream, Fault> {
    let mut told = VecDeque::new();
    for event in events {
        answer.read(event, &mut told)?;
    }
    let usage = answer.usage().ok_or_else(|| answer.cut_short())?;
    lease.settle(&usage);
    Ok(Box::pin(futures::stream::iter(told.into_iter().map(Ok))))
}

/// Whether the client sees something of the answer by it.
fn is_content(event: &GenerateEvent) -> bool {
    match event {
        GenerateEvent::Delta(_) | GenerateEvent::Reasoning(_) | GenerateEvent::ToolCall(_) => true,
        GenerateEvent::Started { .. }
        | GenerateEvent::Prompt { .. }
        | GenerateEvent::PromptScored { .. }
        | GenerateEvent::Finished { .. }
        | GenerateEvent::Done(_) => false,
    }
}

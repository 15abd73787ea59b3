//! An answer as it comes: pieces of a body, within the limits of time, to the events of a backend.
//!
//! # Invariants
//!
//! - Nothing follows a `Done` or an error.
//! - Dropping the stream closes the connection, unless the answer has come to its end: then it is kept for the next one.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt as _;
use spillway_router::{BackendError, BackendId, ErrorClass, Progress, TokenStream};
use spillway_types::GenerateEvent;
use tokio::time::{Instant, timeout_at};

use super::client::{ReplyBody, lost, root_cause};
use super::fault::{ErrorWords, Fault, malformed, of_event, request_id};
use super::reading::Reader;
use super::replicas::InFlight;
use super::sse::{Event, EventKind, EventReader};
use super::{Delivery, Timeouts};

/// Most bytes of an answer in one piece.
const MAX_WHOLE_BYTES: usize = 64 << 20;
/// For how long the end of a body is awaited after its last event, so that the connection can be used again.
const END_GRACE: Duration = Duration::from_millis(20);
/// What a stream's last event holds.
const DONE: &[u8] = b"[DONE]";

/// An answer of which the head has come.
pub(super) struct Answer {
    pub(super) backend: BackendId,
    pub(super) num_choices: u32,
    /// How it was asked for.
    pub(super) delivery: Delivery,
    pub(super) timeouts: Timeouts,
    /// When the request was begun.
    pub(super) start: Instant,
    pub(super) in_flight: InFlight,
}

impl Answer {
    /// Reads the body.
    pub(super) fn stream(self, response: Response<ReplyBody>) -> TokenStream {
        // Some servers answer in one piece whatever is asked for.
        let is_whole = self.delivery == Delivery::Whole || is_json(response.headers());
        let provider_request_id = request_id(response.headers());
        let reading = Reading {
            form: if is_whole { Form::Whole(Vec::new()) } else { Form::Events(EventReader::default()) },
            reader: Reader::new(self.num_choices),
            queue: VecDeque::from([GenerateEvent::Started { prompt_tokens: None, provider_request_id }]),
            progress: Progress::NothingSent,
            last_event: None,
            total: self.start + self.timeouts.total,
            body: Some(response.into_body()),
            answer: self,
        };
        Box::pin(futures::stream::unfold(reading, |mut reading| async move {
            let item = reading.next().await?;
            Some((item, reading))
        }))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// What the pieces of a body make.
enum Form {
    Events(EventReader),
    Whole(Vec<u8>),
}

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    Ended,
}

struct Reading {
    answer: Answer,
    /// Taken at the end.
    body: Option<ReplyBody>,
    form: Form,
    reader: Reader,
    /// What has been read and not handed over.
    queue: VecDeque<GenerateEvent>,
    progress: Progress,
    /// When the last event came, if one has.
    last_event: Option<Instant>,
    /// When the whole must have come.
    total: Instant,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<GenerateEvent, BackendError>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                if !matches!(event, GenerateEvent::Started { .. }) {
                    self.progress = Progress::ContentSent;
                }
                return Some(Ok(event));
            }
            self.body.as_ref()?;
            if let Err(fault) = self.receive().await {
                self.body = None;
                // What came in the same piece is of no use: the answer has failed.
                self.queue.clear();
                self.answer.in_flight.failed(&fault);
                return Some(Err(fault.of(&self.answer.backend, self.progress)));
            }
        }
    }

    /// Waits for the next piece and reads it.
    async fn receive(&mut self) -> Result<(), Fault> {
        let step = match self.piece().await? {
            Some(piece) => self.take(&piece)?,
            None => self.at_end()?,
        };
        if step == Step::Ended {
            let done = self.reader.end()?;
            self.drain().await;
            self.answer.in_flight.succeeded();
            self.queue.push_back(done);
        }
        Ok(())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let (deadline, class) = self.deadline();
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            let frame = timeout_at(deadline, body.frame()).await;
            match frame.map_err(|_elapsed| late(class, &self.answer.timeouts))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(&root_cause(&error))),
                // Trailers say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Until when the next event must come, and what it is if it does not. An answer in one piece has but one limit.
    fn deadline(&self) -> (Instant, ErrorClass) {
        let timeouts = &self.answer.timeouts;
        let next = match (&self.form, self.last_event) {
            (Form::Whole(_), _) => None,
            (Form::Events(_), None) => {
                Some((self.answer.start + timeouts.first_token, ErrorClass::FirstTokenTimeout))
            }
            (Form::Events(_), Some(last)) => Some((last + timeouts.idle, ErrorClass::IdleTimeout)),
        };
        next.filter(|(at, _)| *at < self.total).unwrap_or((self.total, ErrorClass::TotalTimeout))
    }

    fn take(&mut self, piece: &[u8]) -> Result<Step, Fault> {
        match &mut self.form {
            Form::Whole(bytes) if bytes.len() + piece.len() > MAX_WHOLE_BYTES => {
                Err(malformed(format!("its answer is longer than {MAX_WHOLE_BYTES} bytes")))
            }
            Form::Whole(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(Step::More)
            }
            Form::Events(events) => {
                events.push(piece);
                self.read_events()
            }
        }
    }

    fn read_events(&mut self) -> Result<Step, Fault> {
        let Form::Events(events) = &mut self.form else { return Ok(Step::More) };
        let too_long =
            |_| malformed(format!("an event is longer than {} bytes", super::sse::MAX_EVENT_BYTES));
        while let Some(Event { kind, data }) = events.next().map_err(too_long)? {
            if kind == EventKind::Error {
                return Err(of_event(&ErrorWords::read(&data)));
            }
            if data == DONE {
                return Ok(Step::Ended);
            }
            let before = self.queue.len();
            self.reader.read(&data, &mut self.queue)?;
            if self.queue.len() > before {
                self.last_event = Some(Instant::now());
            }
        }
        Ok(Step::More)
    }

    fn at_end(&mut self) -> Result<Step, Fault> {
        match &self.form {
            Form::Events(_) => Err(self.reader.cut()),
            Form::Whole(bytes) => {
                self.reader.read(bytes, &mut self.queue)?;
                self.body = None;
                Ok(Step::Ended)
            }
        }
    }

    /// Lets the body come to its end: a connection is kept only then.
    async fn drain(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let until = Instant::now() + END_GRACE;
        while let Ok(Some(Ok(_))) = timeout_at(until, body.frame()).await {}
    }
}

/// What a wait is that took too long.
pub(super) fn late(class: ErrorClass, timeouts: &Timeouts) -> Fault {
    let (code, limit, what) = match class {
        ErrorClass::FirstTokenTimeout => {
            ("first_token_timeout", timeouts.first_token, "no first token within")
        }
        ErrorClass::IdleTimeout => ("idle_timeout", timeouts.idle, "it fell silent for"),
        _ => ("total_timeout", timeouts.total, "no whole answer within"),
    };
    Fault::new(class, code, format!("{what} {:.1} s", limit.as_secs_f64()))
}

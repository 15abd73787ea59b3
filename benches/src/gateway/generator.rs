//! Requests at planned moments, over connections that are kept: each thread takes the next moment, waits for it, asks, and
//! reads the answer.
//!
//! A thread sleeps to the moment itself, so that no timer of a runtime rounds it. If all threads are under way, moments
//! pass; their requests are sent late and counted from when they were due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::args::{Args, Mode};
use super::exchange::{Connection, Message, Target};
use super::mock::MARKER;
use crate::stopwatch::Stopwatch;

/// Failures of which the words are kept.
const MAX_FAILURES_TOLD: usize = 3;

/// What is sent, and when.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) rate: u32,
    body: String,
    num_requests: u64,
    num_warm_ups: u64,
    num_threads: u32,
}

/// What came of a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// From the planned moment to the end of the answer.
    pub(super) total: Vec<Duration>,
    /// From the planned moment to the first piece of its body.
    pub(super) first: Vec<Duration>,
    pub(super) num_failed: u64,
    /// The words of the first ones.
    pub(super) failures: Vec<String>,
    /// From the first planned moment to the last answer.
    pub(super) elapsed: Duration,
}

impl Plan {
    pub(super) fn new(args: &Args, mode: Mode, rate: u32) -> Self {
        let body = json!({
            "model": args.model,
            "messages": [{"role": "user", "content": "prompt ".repeat(args.prompt_bytes.div_ceil(7))}],
            "max_tokens": args.stream_tokens.max(1),
            "stream": mode == Mode::Streamed,
        });
        Self {
            mode,
            rate,
            body: body.to_string(),
            num_requests: u64::from(rate) * args.duration_secs,
            num_warm_ups: u64::from(rate) * args.warmup_secs,
            num_threads: args.connections,
        }
    }

    /// One request, to see whether it is answered.
    pub(super) fn single(args: &Args) -> Self {
        Self { num_requests: 1, num_threads: 1, ..Self::new(args, Mode::Whole, 1) }
    }

    /// The same for the time before the measurement.
    pub(super) fn warm_up(&self) -> Self {
        Self { num_requests: self.num_warm_ups, ..self.clone() }
    }

    fn due(&self, request: u64) -> Duration {
        Duration::from_secs_f64(request as f64 / f64::from(self.rate))
    }
}

/// Sends all requests of a plan and waits for their answers.
pub(super) fn run_plan(target: &Target, plan: &Plan) -> Outcome {
    let request = target.request(&plan.body);
    let next = AtomicU64::new(0);
    let watch = Stopwatch::start();
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.num_threads)
            .map(|_| {
                scope.spawn(|| Client { target, plan, request: &request, connection: None }.run(&next, watch))
            })
            .collect();
        for thread in threads {
            outcome.add(thread.join().expect("a thread of the generator does not panic"));
        }
    });
    outcome.elapsed = watch.elapsed();
    outcome
}

impl Outcome {
    /// Puts two together that were measured side by side or one after the other.
    pub(super) fn add(&mut self, other: Self) {
        self.total.extend(other.total);
        self.first.extend(other.first);
        self.num_failed += other.num_failed;
        self.failures.extend(other.failures);
        self.failures.truncate(MAX_FAILURES_TOLD);
        self.elapsed += other.elapsed;
    }
}

struct Client<'a> {
    target: &'a Target,
    plan: &'a Plan,
    request: &'a [u8],
    connection: Option<Connection>,
}

impl Client<'_> {
    fn run(mut self, next: &AtomicU64, watch: Stopwatch) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let request = next.fetch_add(1, Ordering::Relaxed);
            if request >= self.plan.num_requests {
                return outcome;
            }
            let due = self.plan.due(request);
            std::thread::sleep(due.saturating_sub(watch.elapsed()));
            let mut first = None;
            match self.exchange(|| first = Some(watch.elapsed().saturating_sub(due))) {
                Ok(()) => {
                    outcome.total.push(watch.elapsed().saturating_sub(due));
                    outcome.first.extend(first);
                }
                Err(failure) => {
                    outcome.num_failed += 1;
                    if outcome.failures.len() < MAX_FAILURES_TOLD {
                        outcome.failures.push(failure);
                    }
                }
            }
        }
    }

    /// Asks once. A kept connection that was closed meanwhile is replaced once, as every client does.
    fn exchange(&mut self, mut on_body: impl FnMut()) -> Result<(), String> {
        let answered = match self.connection.take() {
            Some(kept) => match ask(kept, self.request, &mut on_body) {
                Ok(Some(answered)) => Ok(Some(answered)),
                Ok(None) | Err(_) => self.ask_anew(&mut on_body),
            },
            None => self.ask_anew(&mut on_body),
        };
        let answered = answered.map_err(|error| error.to_string())?;
        let (message, connection) = answered.ok_or("the connection was closed without an answer")?;
        if message.keeps_connection() {
            self.connection = Some(connection);
        }
        check(&message, self.plan.mode)
    }

    fn ask_anew(&self, on_body: &mut impl FnMut()) -> std::io::Result<Option<(Message, Connection)>> {
        ask(self.target.connect()?, self.request, on_body)
    }
}

fn ask(
    mut connection: Connection,
    request: &[u8],
    on_body: &mut impl FnMut(),
) -> std::io::Result<Option<(Message, Connection)>> {
    connection.send(request)?;
    let message = connection.receive(on_body)?;
    Ok(message.map(|message| (message, connection)))
}

/// Whether an answer holds what the mock said, to its end.
fn check(message: &Message, mode: Mode) -> Result<(), String> {
    let body = String::from_utf8_lossy(&message.body);
    let line = message.head.lines().next().unwrap_or_default();
    let wanted = match mode {
        Mode::Streamed => "[DONE]",
        Mode::Whole | Mode::Both => "\"usage\"",
    };
    if line.contains(" 200") && body.contains(MARKER) && body.contains(wanted) {
        return Ok(());
    }
    let body: String = body.chars().take(200).collect();
    Err(format!("{line}: {body}"))
}

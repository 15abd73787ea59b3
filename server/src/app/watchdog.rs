//! Ends the process when the engine hangs or is gone, or its device broke: whoever runs it starts it anew, and nobody
//! waits for ever.
//!
//! It is a thread of its own and asks nothing of the runtime or the engine, so it works when both stand still. It also
//! works while the server closes: a step that hangs then would keep the process for good.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use spillway_engine::{EngineHandle, EngineHealth};

use crate::http::Lifecycle;

/// Exit code of a process whose engine hung or broke.
pub(super) const EXIT_ENGINE: u8 = 4;
/// Exit code of a process whose device broke.
pub(super) const EXIT_DEVICE: u8 = 5;
/// Time that clients get to read their error after the device broke.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time between two looks.
const MAX_PACE: Duration = Duration::from_millis(500);
/// Time that the last line of the log gets: a log that nobody reads must not keep the process.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread. Dropping it ends it.
pub(super) struct Watchdog {
    /// Dropped first, which wakes the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches an engine: no step may take longer than `limit`.
    pub(super) fn start(
        engine: EngineHandle,
        lifecycle: Lifecycle,
        limit: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let pace = MAX_PACE.min(limit / 2).max(Duration::from_millis(1));
        let thread = std::thread::Builder::new().name("spillway-watchdog".to_owned()).spawn(move || {
            while stopped.recv_timeout(pace) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(fault) = fault(engine.health(), lifecycle.is_draining(), limit) else { continue };
                if fault.code == EXIT_DEVICE {
                    // Their requests have failed already: only the word of it is still on its way.
                    lifecycle.start_draining();
                    wait_for_idle(&lifecycle, &stopped, pace);
                }
                end_process(fault);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic; if it did, the process is about to end anyway.
            drop(thread.join());
        }
    }
}

/// Why the process ends.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    code: u8,
    message: String,
}

/// What is wrong with the engine, if it is past hope.
fn fault(health: EngineHealth, is_draining: bool, limit: Duration) -> Option<Fault> {
    let engine = |message| Some(Fault { code: EXIT_ENGINE, message });
    match health {
        EngineHealth::Overdue { since } if since > limit => engine(format!(
            "a step has run for {:.1} s, --watchdog-timeout is {:.1} s",
            since.as_secs_f64(),
            limit.as_secs_f64()
        )),
        // While the server closes, the engine is meant to end.
        EngineHealth::Stopped if !is_draining => engine("the engine's thread has ended".to_owned()),
        EngineHealth::DeviceBroken if !is_draining => {
            Some(Fault { code: EXIT_DEVICE, message: "the device broke".to_owned() })
        }
        EngineHealth::Overdue { .. }
        | EngineHealth::DeviceBroken
        | EngineHealth::Stopped
        | EngineHealth::Ready
        | EngineHealth::Draining => None,
    }
}

/// Waits until every client has its answer, for a moment only; also ends when the server does.
fn wait_for_idle(lifecycle: &Lifecycle, stopped: &mpsc::Receiver<()>, pace: Duration) {
    let looks = LAST_BYTES_TIMEOUT.as_millis().div_ceil(pace.as_millis().max(1));
    for _ in 0..looks {
        if lifecycle.is_idle() || stopped.recv_timeout(pace) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Says why, and ends the process from within: no destructor could end a thread that hangs.
fn end_process(fault: Fault) -> ! {
    let Fault { code, message } = fault;
    let last_words =
        move || tracing::error!(fault = message, exit_code = code, "watchdog: ending the process");
    end_with(code, last_words)
}

/// Runs `last_words` for a moment and ends the process.
#[expect(clippy::disallowed_methods, reason = "a thread that hangs keeps main from returning")]
fn end_with(code: u8, last_words: impl FnOnce() + Send + 'static) -> ! {
    let (said, done) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        last_words();
        // Whoever waited may have given up.
        let _ = said.send(());
    });
    if thread.is_ok() {
        // Late or not, the process ends now.
        let _ = done.recv_timeout(LAST_WORDS_TIMEOUT);
    }
    std::process::exit(i32::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_past_hope_ends_the_process() {
        let limit = Duration::from_mins(5);
        let overdue = |secs| EngineHealth::Overdue { since: Duration::from_secs(secs) };
        for is_draining in [false, true] {
            assert_eq!(fault(EngineHealth::Ready, is_draining, limit), None);
            assert_eq!(fault(EngineHealth::Draining, is_draining, limit), None);
            assert_eq!(fault(overdue(299), is_draining, limit), None);
            let fault = fault(overdue(301), is_draining, limit).expect("it hangs");
            assert_eq!(fault.message, "a step has run for 301.0 s, --watchdog-timeout is 300.0 s");
            assert_eq!(fault.code, EXIT_ENGINE);
        }
        let code = |health, is_draining| fault(health, is_draining, limit).map(|fault| fault.code);
        assert_eq!(code(EngineHealth::Stopped, false), Some(EXIT_ENGINE));
        assert_eq!(code(EngineHealth::DeviceBroken, false), Some(EXIT_DEVICE));
        for health in [EngineHealth::Stopped, EngineHealth::DeviceBroken] {
            assert_eq!(code(health, true), None, "the process ends anyway");
        }
    }
}

//! Leaves a backend alone that keeps failing, and tries it again carefully.
//!
//! Closed, it counts calls over a sliding window; too many failures among enough calls open it. Open, nothing is sent.
//! After a while single probes are let through; enough good ones in a row close it, a bad one opens it again.
//!
//! # Invariants
//!
//! - While probing, at most one call is under way: a [`Permit`] holds the place and gives it back when dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{BreakerSettings, CoolDown};

/// How long a server that is out of quota for long, or that we may not use, is left alone before a probe.
const LONG: Duration = Duration::from_mins(5);
/// How long a server that asked for a pause without saying how long is left alone.
const SHORT: Duration = Duration::from_secs(1);
/// The longest pause that a server can ask for.
const MAX_ASKED: Duration = Duration::from_mins(2);

/// The state of one backend's calls. Shared by all that call it.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Calls go through; these were made lately, with whether they failed.
    Closed { calls: VecDeque<(Duration, bool)> },
    /// Nothing is sent until then; after it so many probes must go through, none after a pause that was asked for.
    Open { until: Duration, num_probes: u32 },
    /// One probe at a time; so many good ones are still wanted.
    Probing { left: u32, under_way: bool },
}

/// The right to make one call. Dropped without a word, it says nothing about the backend.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    is_probe: bool,
    told: bool,
}

/// Calls that are remembered at most: beyond it the oldest are forgotten before their time.
const MAX_CALLS: usize = 4096;

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::new(State::Closed { calls: VecDeque::new() }) })
    }

    /// For how long nothing may be sent; none if a call could be made now.
    pub(crate) fn closed_for(&self, now: Duration) -> Option<Duration> {
        match &*self.lock() {
            State::Closed { .. } => None,
            State::Open { until, .. } => until.checked_sub(now).filter(|left| !left.is_zero()),
            State::Probing { under_way, .. } => under_way.then_some(SHORT),
        }
    }

    /// Takes the right to make a call now.
    pub(crate) fn permit(self: &Arc<Self>, now: Duration) -> Option<Permit> {
        let mut state = self.lock();
        if let State::Open { until, num_probes } = *state
            && until <= now
        {
            *state = if num_probes == 0 {
                State::Closed { calls: VecDeque::new() }
            } else {
                State::Probing { left: num_probes, under_way: false }
            };
        }
        let is_probe = match &mut *state {
            State::Closed { .. } => false,
            State::Open { .. } | State::Probing { under_way: true, .. } => return None,
            State::Probing { under_way, .. } => {
                *under_way = true;
                true
            }
        };
        Some(Permit { breaker: Arc::clone(self), is_probe, told: false })
    }

    /// Counts a call that came to its end.
    pub(crate) fn ended(&self, now: Duration) {
        self.succeeded(now, false);
    }

    fn succeeded(&self, now: Duration, is_probe: bool) {
        let mut state = self.lock();
        match &mut *state {
            State::Closed { calls } => count(calls, &self.settings, now, false),
            State::Probing { left, under_way } if is_probe => {
                *under_way = false;
                *left = left.saturating_sub(1);
                if *left == 0 {
                    *state = State::Closed { calls: VecDeque::new() };
                }
            }
            // A call from before it opened says nothing about now.
            State::Open { .. } | State::Probing { .. } => {}
        }
    }

    /// Counts a failure, and opens or pauses as its treatment says.
    pub(crate) fn failed(&self, now: Duration, cool_down: CoolDown, asked: Option<Duration>) {
        let mut state = self.lock();
        let num_probes = self.settings.num_probes.max(1);
        let pause = match cool_down {
            CoolDown::None => return,
            CoolDown::OnRatio => asked.map(|asked| asked.min(MAX_ASKED)),
            CoolDown::Short => Some(asked.unwrap_or(SHORT).min(MAX_ASKED)),
            CoolDown::Long | CoolDown::UntilMended => Some(LONG),
        };
        let open = |pause: Duration, num_probes| State::Open { until: now + pause, num_probes };
        match &mut *state {
            State::Closed { calls } => {
                count(calls, &self.settings, now, true);
                if self.settings.is_exceeded(calls) {
                    *state = open(pause.unwrap_or_default().max(self.settings.open_for), num_probes);
                } else if let Some(pause) = pause {
                    let is_short = cool_down == CoolDown::Short || cool_down == CoolDown::OnRatio;
                    *state = open(pause, if is_short { 0 } else { num_probes });
                }
            }
            State::Probing { .. } => {
                *state = open(pause.unwrap_or_default().max(self.settings.open_for), num_probes);
            }
            State::Open { until, .. } => *until = (*until).max(now + pause.unwrap_or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerSettings {
    fn is_exceeded(&self, calls: &VecDeque<(Duration, bool)>) -> bool {
        let num_failed = calls.iter().filter(|(_, failed)| *failed).count();
        calls.len() >= self.min_calls as usize
            && num_failed as f64 >= self.max_failure_ratio * calls.len() as f64
    }
}

fn count(calls: &mut VecDeque<(Duration, bool)>, settings: &BreakerSettings, now: Duration, failed: bool) {
    while calls.len() >= MAX_CALLS || calls.front().is_some_and(|(at, _)| *at + settings.window < now) {
        calls.pop_front();
    }
    calls.push_back((now, failed));
}

impl Permit {
    /// The backend has begun to answer, which is all that a probe asks. How the call ends counts when it ends.
    pub(crate) fn begun(mut self, now: Duration) {
        self.told = true;
        if self.is_probe {
            self.breaker.succeeded(now, self.is_probe);
        }
    }

    /// The backend failed, in a way that asks for this treatment.
    pub(crate) fn failed(mut self, now: Duration, cool_down: CoolDown, asked: Option<Duration>) {
        // A request at fault says nothing about the backend, as if the call had been given up.
        self.told = cool_down != CoolDown::None;
        self.breaker.failed(now, cool_down, asked);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe
            && !self.told
            && let State::Probing { under_way, .. } = &mut *self.breaker.lock()
        {
            *under_way = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn breaker() -> Arc<Breaker> {
        Breaker::new(BreakerSettings {
            window: secs(60),
            min_calls: 4,
            max_failure_ratio: 0.5,
            open_for: secs(10),
            num_probes: 2,
        })
    }

    fn fail(breaker: &Arc<Breaker>, at: u64) {
        breaker.permit(secs(at)).expect("it is closed").failed(secs(at), CoolDown::OnRatio, None);
    }

    fn succeed(breaker: &Arc<Breaker>, at: u64) {
        breaker.permit(secs(at)).expect("it is closed").begun(secs(at));
        breaker.ended(secs(at));
    }

    #[test]
    fn opens_when_half_of_enough_calls_failed_and_not_before() {
        let breaker = breaker();
        fail(&breaker, 1);
        fail(&breaker, 2);
        succeed(&breaker, 3);
        assert_eq!(breaker.closed_for(secs(3)), None);
        fail(&breaker, 4);
        assert_eq!(breaker.closed_for(secs(4)), Some(secs(10)));
        assert!(breaker.permit(secs(5)).is_none());
    }

    #[test]
    fn what_is_long_past_does_not_count() {
        let breaker = breaker();
        for at in [1, 2, 3] {
            fail(&breaker, at);
        }
        fail(&breaker, 100);
        assert_eq!(breaker.closed_for(secs(100)), None);
    }

    #[test]
    fn probes_go_one_at_a_time_and_close_it_together() {
        let breaker = breaker();
        for at in [1, 2, 3, 4] {
            fail(&breaker, at);
        }
        let probe = breaker.permit(secs(14)).expect("the time is over");
        assert!(breaker.permit(secs(14)).is_none(), "one at a time");
        drop(probe);
        breaker.permit(secs(15)).expect("a probe that was given up made room").begun(secs(15));
        breaker.permit(secs(16)).expect("the second probe").begun(secs(16));
        let first = breaker.permit(secs(17)).expect("closed");
        assert!(breaker.permit(secs(17)).is_some(), "closed, so several go");
        first.begun(secs(17));
    }

    #[test]
    fn a_bad_probe_opens_it_again() {
        let breaker = breaker();
        for at in [1, 2, 3, 4] {
            fail(&breaker, at);
        }
        breaker.permit(secs(14)).expect("a probe").failed(secs(14), CoolDown::OnRatio, None);
        assert_eq!(breaker.closed_for(secs(14)), Some(secs(10)));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_and_ends_by_itself() {
        let breaker = breaker();
        let asked = Some(Duration::from_millis(1500));
        breaker.permit(secs(1)).expect("closed").failed(secs(1), CoolDown::Short, asked);
        assert_eq!(breaker.closed_for(secs(2)), Some(Duration::from_millis(500)));
        let first = breaker.permit(secs(3)).expect("the pause is over");
        assert!(breaker.permit(secs(3)).is_some(), "several go at once");
        first.begun(secs(3));
    }

    #[test]
    fn a_request_at_fault_is_not_held_against_the_backend() {
        let breaker = breaker();
        for at in 0..8 {
            breaker.permit(secs(at)).expect("closed").failed(secs(at), CoolDown::None, None);
        }
        assert_eq!(breaker.closed_for(secs(9)), None);
    }
}

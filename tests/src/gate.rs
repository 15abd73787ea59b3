//! Holds an engine still between two steps, so that a test can do something at exactly that moment.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The executor passes it before each step. It is open until it is closed.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the engine stands before the closed gate.
    is_waiting: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    /// This many more steps may pass.
    Closed {
        num_allowed: u64,
    },
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Open),
            changed: Condvar::new(),
            is_waiting: watch::Sender::new(false),
        }
    }
}

impl Gate {
    /// Lets all steps pass.
    pub fn open(&self) {
        self.set(State::Open);
    }

    /// Lets this many steps pass from now on, and holds the next one.
    pub fn allow(&self, num_steps: u64) {
        self.set(State::Closed { num_allowed: num_steps });
    }

    /// Waits until the engine stands before the closed gate: it has launched all the steps that it may.
    pub async fn engine_waits(&self) {
        let mut is_waiting = self.is_waiting.subscribe();
        is_waiting.wait_for(|&is_waiting| is_waiting).await.expect("the gate keeps the sender");
    }

    /// Called by the executor before each step.
    pub fn pass(&self) {
        let mut state = self.lock();
        while let State::Closed { num_allowed: 0 } = *state {
            self.is_waiting.send_replace(true);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let State::Closed { num_allowed } = &mut *state {
            *num_allowed -= 1;
        }
    }

    fn set(&self, new: State) {
        let mut state = self.lock();
        *state = new;
        // Set here and not by the engine when it wakes, so that nobody mistakes an old wait for a new one.
        self.is_waiting.send_replace(false);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is one value, whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What all connections share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::log::Log;

/// What all connections share.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) hold: Hold,
    /// Calls of each model so far.
    num_calls: Mutex<HashMap<String, u64>>,
}

impl State {
    /// Counts a call of a model, and tells how many there were before it.
    pub(super) fn count(&self, model: &str) -> u64 {
        let mut num_calls = self.num_calls.lock().unwrap_or_else(PoisonError::into_inner);
        let num_before = num_calls.entry(model.to_owned()).or_default();
        *num_before += 1;
        *num_before - 1
    }
}

/// Where calls hold still.
#[derive(Debug)]
pub(super) struct Hold {
    permits: Semaphore,
    num_held: watch::Sender<usize>,
}

impl Default for Hold {
    fn default() -> Self {
        Self { permits: Semaphore::new(0), num_held: watch::Sender::default() }
    }
}

impl Hold {
    /// Holds still until released.
    pub(super) async fn wait(&self) {
        let _held = Held::new(&self.num_held);
        self.permits.acquire().await.expect("it is never closed").forget();
    }

    pub(super) fn release(&self) {
        self.permits.add_permits(1);
    }

    /// Waits until so many hold still.
    pub(super) async fn reached(&self, num_calls: usize) {
        let mut num_held = self.num_held.subscribe();
        num_held.wait_for(|held| *held >= num_calls).await.expect("the hold keeps the sender");
    }
}

/// One that holds still, for as long as this lives.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(num_held: &'a watch::Sender<usize>) -> Self {
        num_held.send_modify(|held| *held += 1);
        Self(num_held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}

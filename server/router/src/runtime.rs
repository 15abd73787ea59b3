//! What the router needs of the world: time, chance, and someone who sees a task to its end.

use std::time::Duration;

use crate::BoxFuture;

/// Time, chance and tasks. Tests bring their own.
pub trait Runtime: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Ends after `time`.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// An even draw from 0 to 1, 1 excluded.
    fn random(&self) -> f64;

    /// Runs a task beside everything else, until it ends or the process is asked to.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// How much better a strong model would do on a prompt.
pub trait GainEstimator: Send + Sync {
    /// The expected gain, from -1 to 1: finite for any text.
    fn gain(&self, text: &str) -> f32;

    /// The gain from which on the given share of prompts goes to the strong model.
    fn threshold(&self, share: f64) -> f32;
}

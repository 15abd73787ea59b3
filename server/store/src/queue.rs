//! What waits to be written: a bounded queue from many tasks to the one writer, which takes all of it at once.
//!
//! Commands are hurried if somebody waits for them; the others may linger a moment, so that many of them share one
//! transaction. The writer sleeps while there is nothing to do.
//!
//! # Invariants
//!
//! - Whoever pushes a reservation or a record has taken a place before; the writer gives it back when the row is
//!   closed. A settlement uses the place of its reservation, so it never has to wait for one.
//! - Whatever was pushed before [`Queue::close`] is taken.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::StoreError;

/// How long an unhurried command may wait for company. A killed process loses at most this much of what nobody waited
/// for; the calls concerned stay charged at their reservation.
const LINGER: Duration = Duration::from_millis(5);

/// Whether somebody waits for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hurry {
    Yes,
    No,
}

/// Commands of type `C` on their way to the writer.
#[derive(Debug)]
pub(crate) struct Queue<C> {
    waiting: Mutex<Waiting<C>>,
    news: Condvar,
    places: Semaphore,
    max_pending: u32,
}

#[derive(Debug)]
struct Waiting<C> {
    commands: Vec<C>,
    is_hurried: bool,
    is_closed: bool,
}

/// Whether more may come after what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    MoreMayCome,
    Last,
}

impl<C> Queue<C> {
    /// A queue with room for so many calls that are open or not yet written.
    pub(crate) fn new(max_pending: u32) -> Self {
        let waiting = Waiting { commands: Vec::new(), is_hurried: false, is_closed: false };
        let places = Semaphore::new(max_pending as usize);
        Self { waiting: Mutex::new(waiting), news: Condvar::new(), places, max_pending }
    }

    /// Takes a place, which the writer gives back.
    pub(crate) fn take_place(&self) -> Result<(), StoreError> {
        match self.places.try_acquire() {
            Ok(place) => {
                place.forget();
                Ok(())
            }
            Err(_) => Err(StoreError::Full { max_pending: self.max_pending }),
        }
    }

    /// Gives places back.
    pub(crate) fn give_places(&self, num_places: usize) {
        self.places.add_permits(num_places);
    }

    /// Hands a command to the writer.
    pub(crate) fn push(&self, command: C, hurry: Hurry) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(StoreError::Closed);
        }
        // The writer is awake or has its alarm set if something was there before; only hurry changes its plans.
        let is_news = waiting.commands.is_empty() || (hurry == Hurry::Yes && !waiting.is_hurried);
        waiting.commands.push(command);
        waiting.is_hurried |= hurry == Hurry::Yes;
        drop(waiting);
        if is_news {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Lets nothing more in, and has the writer finish.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    /// Waits for commands and moves all of them to the end of `commands`.
    ///
    /// Returns empty-handed after `patience`, if there is one: the writer has something of its own to try again.
    pub(crate) fn take(&self, commands: &mut Vec<C>, patience: Option<Duration>) -> Taken {
        let mut waiting = self.lock();
        if waiting.commands.is_empty() && !waiting.is_closed {
            waiting = self.wait_while(waiting, patience, |waiting| waiting.commands.is_empty());
        }
        if !waiting.is_hurried && !waiting.commands.is_empty() {
            waiting = self.wait_while(waiting, Some(LINGER), |waiting| !waiting.is_hurried);
        }
        waiting.is_hurried = false;
        let mut taken = mem::take(&mut waiting.commands);
        let is_closed = waiting.is_closed;
        drop(waiting);
        commands.append(&mut taken);
        if is_closed { Taken::Last } else { Taken::MoreMayCome }
    }

    /// Waits while the queue is open and `is_idle` holds, for at most `limit`.
    fn wait_while<'q>(
        &'q self,
        waiting: MutexGuard<'q, Waiting<C>>,
        limit: Option<Duration>,
        is_idle: impl Fn(&Waiting<C>) -> bool,
    ) -> MutexGuard<'q, Waiting<C>> {
        let goes_on = |waiting: &mut Waiting<C>| !waiting.is_closed && is_idle(waiting);
        match limit {
            None => self.news.wait_while(waiting, goes_on).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let woken = self.news.wait_timeout_while(waiting, limit, goes_on);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Waiting<C>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_waits_is_taken_at_once_and_in_order() {
        let queue = Queue::new(8);
        for number in 0..5 {
            queue.push(number, Hurry::No).expect("open");
        }
        queue.push(5, Hurry::Yes).expect("open");
        let mut taken = vec![100];
        assert_eq!(queue.take(&mut taken, None), Taken::MoreMayCome);
        assert_eq!(taken, [100, 0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_nobody_waits_for_is_taken_without_a_hurried_one() {
        let queue = Queue::new(8);
        queue.push("settlement", Hurry::No).expect("open");
        let mut taken = Vec::new();
        queue.take(&mut taken, None);
        assert_eq!(taken, ["settlement"]);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(8);
        queue.push("first", Hurry::No).expect("open");
        queue.close();
        assert!(matches!(queue.push("late", Hurry::Yes), Err(StoreError::Closed)));
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, None), Taken::Last);
        assert_eq!(taken, ["first"]);
    }

    #[test]
    fn a_full_queue_says_so_until_a_place_is_given_back() {
        let queue = Queue::<()>::new(2);
        queue.take_place().expect("first");
        queue.take_place().expect("second");
        let error = queue.take_place().expect_err("no third");
        assert_eq!(
            error.to_string(),
            "the ledger is full (2 calls open or not yet written): try again later"
        );
        queue.give_places(1);
        queue.take_place().expect("room again");
    }
}

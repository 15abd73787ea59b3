//! A waker that holds wake-ups back while its task is at work on what they are about.
//!
//! The two halves of a connection tell each other of every step. Passed on, each of these wake-ups would have the runtime
//! poll the whole task once more, on another thread if one is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Rounds after which a task gives way to others.
const MAX_ROUNDS: u32 = 8;

/// Nobody is at work: a wake-up goes to the task.
const IDLE: u8 = 0;
/// The task is at work.
const AT_WORK: u8 = 1;
/// The same, and there is more to do.
const AT_WORK_AND_WOKEN: u8 = 2;

/// Of one connection; [`HeldWaker::poll`] is called by one task at a time.
pub(super) struct HeldWaker {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Default)]
struct Shared {
    state: AtomicU8,
    /// Who is woken while nobody is at work.
    task: AtomicWaker,
}

impl HeldWaker {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// Calls `work` until it is done or waits for something outside; then the task of `ctx` is woken when that comes.
    pub(super) fn poll<T>(
        &self,
        ctx: &Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.task.register(ctx.waker());
        let mut held = Context::from_waker(&self.waker);
        for _ in 0..MAX_ROUNDS {
            self.shared.state.store(AT_WORK, SeqCst);
            let done = work(&mut held);
            let before = self.shared.state.swap(IDLE, SeqCst);
            if done.is_ready() || before == AT_WORK {
                return done;
            }
        }
        ctx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let at_work = |state| (state != IDLE).then_some(AT_WORK_AND_WOKEN);
        if self.state.fetch_update(SeqCst, SeqCst, at_work).is_err() {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_wake_up_at_work_is_one_more_round_and_one_after_it_wakes_the_task() {
        let task = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&task));
        let held = HeldWaker::new();
        let (mut rounds, mut inner) = (0, None);
        let polled = held.poll(&Context::from_waker(&waker), |ctx| {
            rounds += 1;
            inner = Some(ctx.waker().clone());
            if rounds < 3 {
                ctx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert_eq!((polled, rounds, task.0.load(Relaxed)), (Poll::Pending, 3, 0));
        inner.expect("it was polled").wake();
        assert_eq!(task.0.load(Relaxed), 1);
    }

    #[test]
    fn work_that_never_rests_gives_way_and_is_woken_again() {
        let task = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut rounds = 0;
        let polled = HeldWaker::new().poll(&Context::from_waker(&waker), |ctx| {
            rounds += 1;
            ctx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!((polled, rounds, task.0.load(Relaxed)), (Poll::Pending, MAX_ROUNDS, 1));
    }

    #[test]
    fn what_is_done_is_handed_over_without_waking_anybody() {
        let task = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&task));
        let done = HeldWaker::new().poll(&Context::from_waker(&waker), |ctx| {
            ctx.waker().wake_by_ref();
            Poll::Ready(7)
        });
        assert_eq!((done, task.0.load(Relaxed)), (Poll::Ready(7), 0));
    }
}

//! Time, chance and tasks, by tokio.

use std::sync::Arc;
use std::time::Duration;

use spillway_engine::{Clock, SystemClock};
use spillway_router::{BoxFuture, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The router's runtime: the clock of the engine's kind, tokio's timers, tasks that a [`TaskOwner`] sees to their end.
#[derive(Clone)]
pub(crate) struct TokioRuntime {
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// Owns the tasks of a [`TokioRuntime`].
pub(crate) struct TaskOwner {
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl TokioRuntime {
    /// A runtime, and who ends its tasks.
    pub(crate) fn start() -> (Self, TaskOwner) {
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let owner = TaskOwner { tasks: tasks.clone(), ended: ended.clone() };
        (Self { clock: Arc::new(SystemClock::start()), tasks, ended }, owner)
    }
}

impl TaskOwner {
    /// Aborts what still runs, and waits until it is gone.
    pub(crate) async fn end(self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn random(&self) -> f64 {
        rand::random()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = ended.cancelled() => {}
            }
        });
    }
}

//! Requests enter an engine in a known order, although their prompts are tokenised on another thread.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures::future::{BoxFuture, MaybeDone, maybe_done};
use spillway_engine::{EngineError, EventStream};

/// Requests on their way to the engine, in order.
#[derive(Default)]
pub(crate) struct Queue {
    pending: Vec<Pin<Box<MaybeDone<Generate>>>>,
}

type Generate = BoxFuture<'static, Result<EventStream, EngineError>>;

/// Returns when requests that were polled before are in the engine's channel, if they are polled along with this.
///
/// A request first has its prompt tokenised on the runtime's one blocking thread. So when a task that was given to that
/// thread afterwards is done, the request's is done too, and one more poll puts it into the channel.
pub async fn prompts_are_tokenised() {
    tokio::task::spawn_blocking(|| ()).await.expect("there is nothing to fail");
    tokio::task::yield_now().await;
}

impl Queue {
    /// Returns when the request is in the engine's channel, behind those pushed before it.
    pub(crate) async fn push(&mut self, generate: Generate) {
        self.pending.push(Box::pin(maybe_done(generate)));
        let mut fence = pin!(prompts_are_tokenised());
        poll_fn(|ctx| {
            for generate in &mut self.pending {
                // Their answers are kept until all are asked for.
                let _is_answered: Poll<()> = generate.as_mut().poll(ctx);
            }
            fence.as_mut().poll(ctx)
        })
        .await;
    }

    /// Waits until the engine has answered the first, and tells whether it will serve it.
    pub(crate) async fn accepts_first(&mut self) -> bool {
        let Some(first) = self.pending.first_mut() else { return false };
        first.as_mut().await;
        first.as_mut().output_mut().is_some_and(|stream| stream.is_ok())
    }

    /// Waits until the engine has answered all of them.
    pub(crate) async fn finish(mut self) -> Vec<Result<EventStream, EngineError>> {
        let mut streams = Vec::with_capacity(self.pending.len());
        for generate in &mut self.pending {
            generate.as_mut().await;
            streams.push(generate.as_mut().take_output().expect("it has just ended"));
        }
        streams
    }
}

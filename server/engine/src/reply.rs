//! Waiting for the engine's word on a request. Whoever stops waiting takes the request back.
//!
//! # Invariants
//!
//! - A request is never left in the engine without anybody who holds it: until the word is read, dropping the wait
//!   aborts it; after that, its [`crate::EventStream`] does.

use spillway_types::{RequestId, SeqId};
use tokio::sync::oneshot;

use crate::message::{Control, Refusal};

/// What the engine says of a submission: the ids of its sequences, or why it does not take it.
pub(crate) type Answer = Result<Vec<SeqId>, Refusal>;

/// A submission that was sent and not yet answered.
pub(crate) struct PendingReply {
    request_id: RequestId,
    answer: oneshot::Receiver<Answer>,
    control: flume::Sender<Control>,
    is_read: bool,
}

impl PendingReply {
    pub(crate) fn new(
        request_id: RequestId,
        answer: oneshot::Receiver<Answer>,
        control: flume::Sender<Control>,
    ) -> Self {
        Self { request_id, answer, control, is_read: false }
    }

    /// Waits for the word; none comes if the engine has ended.
    pub(crate) async fn wait(mut self) -> Option<Answer> {
        let answer = (&mut self.answer).await;
        self.is_read = true;
        answer.ok()
    }

    /// The word, if it is there.
    pub(crate) fn now(mut self) -> Option<Answer> {
        let answer = self.answer.try_recv();
        self.is_read = answer.is_ok();
        answer.ok()
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if self.is_read {
            return;
        }
        // In this order: an engine that has not answered yet finds nobody listening and lets go by itself, and one that
        // has answered is told by the abort.
        self.answer.close();
        // An engine that is gone holds nothing.
        let _ = self.control.send(Control::Abort(self.request_id));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn pending() -> (PendingReply, oneshot::Sender<Answer>, flume::Receiver<Control>) {
        let (reply, answer) = oneshot::channel();
        let (control, told) = flume::unbounded();
        (PendingReply::new(RequestId(7), answer, control), reply, told)
    }

    #[test]
    fn a_word_that_is_there_is_read_though_nobody_waits() {
        let (waited_for, reply, told) = pending();
        reply.send(Ok(vec![SeqId(1)])).expect("it is waited for");
        assert!(matches!(waited_for.now(), Some(Ok(ids)) if ids == [SeqId(1)]));
        assert!(told.try_recv().is_err(), "what was read is not taken back");
        let (waited_for, _reply, told) = pending();
        assert!(waited_for.now().is_none());
        assert!(told.try_recv().is_ok(), "what was not is");
    }

    #[test]
    fn a_word_that_nobody_reads_aborts_its_request() {
        let (pending, reply, told) = pending();
        reply.send(Ok(vec![SeqId(1)])).expect("it is waited for");
        drop(pending);
        assert!(matches!(told.try_recv(), Ok(Control::Abort(RequestId(7)))));
    }

    #[test]
    fn a_word_that_comes_too_late_cannot_be_given() {
        let (pending, reply, told) = pending();
        drop(pending);
        assert!(told.try_recv().is_ok());
        assert!(reply.send(Ok(Vec::new())).is_err());
    }

    #[test]
    fn a_word_that_is_read_leaves_the_request_alone() {
        let (pending, reply, told) = pending();
        reply.send(Ok(vec![SeqId(1)])).expect("it is waited for");
        let read = pin!(pending.wait()).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(read, Poll::Ready(Some(Ok(vec![SeqId(1)]))));
        assert!(told.try_recv().is_err());
    }
}

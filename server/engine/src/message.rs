//! What goes to the engine thread, and what comes back from it.

use std::time::Duration;

use spillway_scheduler::{SubmitError, SubmitRequest};
use spillway_types::{FinishReason, RequestId, ScoredToken, SeqId};

use crate::batch::SeqSampling;
use crate::error::EngineError;
use crate::reply::Answer;
use tokio::sync::{mpsc, oneshot};

/// A request on its way to the engine thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: SubmitRequest,
    /// How the tokens of the first choice are chosen; the others differ by their index only.
    pub(crate) sampling: SeqSampling,
    /// When the request arrived, before tokenising.
    pub(crate) arrived: Duration,
    pub(crate) updates: mpsc::UnboundedSender<Update>,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// Why the engine thread did not take a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Refusal {
    /// The scheduler says so.
    Scheduler(SubmitError),
    /// The prompts in line take too long already.
    QueueTooLong { queued_tokens: u64, wait: Duration, max_wait: Duration },
}

/// Words to the engine thread that must never wait behind submissions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    /// The client has gone.
    Abort(RequestId),
    /// A stop string was met.
    Finish(SeqId),
    /// Finish what is there until this time on the engine's clock, abort the rest, end.
    Stop { deadline: Duration },
}

/// News of one request, in order.
#[derive(Debug)]
pub(crate) enum Update {
    /// The request's first sequence was given blocks for the first time.
    Admitted { cached_tokens: u32 },
    /// More tokens of the prompt were scored.
    PromptScored { tokens: Vec<ScoredToken> },
    /// A sequence has new tokens, or ended, or both.
    Tokens { choice: u32, tokens: Vec<ScoredToken>, finish: Option<FinishReason> },
    /// The request failed; nothing follows.
    Failed { error: EngineError },
}

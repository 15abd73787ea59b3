//! What can go wrong between a request and its backend, by what the caller can do about it.

use std::time::Duration;

use spillway_types::ModelId;

use crate::{BackendId, BoxError, Excluded, FallBack, UpstreamError};

/// Why a backend did not serve a request.
///
/// The router reads [`retry`](Self::retry); only `server::http::error` makes a status of it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No backend of this model could take the prompt; the client must shorten it.
    #[error(
        "prompt has {prompt_tokens} tokens, model `{model}` takes at most {max_tokens}: shorten the prompt"
    )]
    PromptTooLong {
        /// The model that was asked for.
        model: ModelId,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Most tokens of a prompt.
        max_tokens: u32,
    },

    /// The request asks for something that this model cannot do; the client must change it.
    #[error("{message}")]
    InvalidRequest {
        /// The field at fault, as clients write it, if it is one.
        param: Option<&'static str>,
        /// What is wrong, and how to mend it.
        message: String,
    },

    /// This queue is full; another backend may have room.
    #[error("queue of backend `{backend}` is full ({max_waiting} waiting): try again in {} s", retry_after.as_secs())]
    QueueFull {
        /// Whose queue.
        backend: BackendId,
        /// The queue's limit.
        max_waiting: u32,
        /// When there may be room again.
        retry_after: Duration,
    },

    /// The prompts in this queue take too long already; another backend may be faster.
    #[error(
        "the prompts in the queue of backend `{backend}` take {:.1} s, limit {:.1} s: try again in {} s",
        wait.as_secs_f64(), max_wait.as_secs_f64(), retry_after.as_secs()
    )]
    QueueTooLong {
        /// Whose queue.
        backend: BackendId,
        /// How long the prompts in it take.
        wait: Duration,
        /// The queue's limit.
        max_wait: Duration,
        /// When there may be room again.
        retry_after: Duration,
    },

    /// The backend finishes what it has and takes nothing new.
    #[error("backend `{backend}` is shutting down")]
    ShuttingDown {
        /// Who is closing.
        backend: BackendId,
    },

    /// A server that is not ours refused or broke.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),

    /// The backend broke while serving. `tokens_sent` tells whether the client has seen anything.
    #[error("backend `{backend}` failed after {tokens_sent} tokens")]
    Failed {
        /// Who broke.
        backend: BackendId,
        /// Tokens that were handed over before.
        tokens_sent: u32,
        /// What happened.
        #[source]
        source: BoxError,
    },
}

/// What the router may do about a [`BackendError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The client must hear of it.
    Never,
    /// Another backend may serve the request.
    OnAnotherBackend,
}

impl BackendError {
    /// A stream is never replayed once the client has seen a token: the text could change.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Upstream(error) => match error.class.treatment().fall_back {
                FallBack::Never => Retry::Never,
                FallBack::Always | FallBack::ToLargerContext => Retry::OnAnotherBackend,
            },
            Self::QueueFull { .. }
            | Self::QueueTooLong { .. }
            | Self::ShuttingDown { .. }
            | Self::Failed { tokens_sent: 0, .. } => Retry::OnAnotherBackend,
            Self::PromptTooLong { .. } | Self::InvalidRequest { .. } | Self::Failed { .. } => Retry::Never,
        }
    }
}

/// Nobody can serve the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCandidate {
    /// No backend serves a model of this name.
    #[error("the model `{model}` does not exist")]
    UnknownModel {
        /// The name that was asked for.
        model: ModelId,
    },
    /// Backends serve the model, but none of them can serve this request now.
    #[error("no backend of model `{model}` can serve the request: {}", list(excluded))]
    AllExcluded {
        /// The model that was asked for.
        model: ModelId,
        /// Why each backend of the model was left out.
        excluded: Vec<Excluded>,
    },
}

fn list(excluded: &[Excluded]) -> String {
    excluded.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why [`Router::generate`](crate::Router::generate) gave no stream.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Nobody can serve the request.
    #[error(transparent)]
    NoCandidate(#[from] NoCandidate),
    /// The picked backend refused it.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A set of backends that cannot be routed among.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterConfigError {
    /// There is no backend.
    #[error("there is no backend to route to: configure at least one")]
    NoBackend,
    /// Two backends have the same name.
    #[error("two backends are named `{id}`: give each its own name")]
    DuplicateId {
        /// The name.
        id: BackendId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_retried_only_before_the_first_token() {
        let failed = |tokens_sent| BackendError::Failed {
            backend: BackendId::new("local"),
            tokens_sent,
            source: "broken".into(),
        };
        assert_eq!(failed(0).retry(), Retry::OnAnotherBackend);
        assert_eq!(failed(1).retry(), Retry::Never);
    }

    #[test]
    fn a_full_queue_names_its_limit_and_when_to_come_back() {
        let error = BackendError::QueueFull {
            backend: BackendId::new("local"),
            max_waiting: 1024,
            retry_after: Duration::from_secs(3),
        };
        assert_eq!(error.to_string(), "queue of backend `local` is full (1024 waiting): try again in 3 s");
        assert_eq!(error.retry(), Retry::OnAnotherBackend);
    }
}

//! What can go wrong between a request and its backend, by what the caller can do about it.

use std::time::Duration;

use spillway_types::ModelId;

use crate::{BackendId, BoxError, CoolDown, Excluded, FallBack, Progress, RouteId, Treatment, UpstreamError};

/// Why a backend did not serve a request.
///
/// The router reads its [`treatment`](Self::treatment); only `server::http::error` makes a status of it.
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

impl BackendError {
    /// What may be done about it while the client has seen nothing. An engine of this process is never left alone for an
    /// error: its health tells.
    pub fn treatment(&self) -> Treatment {
        let local = |fall_back| Treatment { max_retries: 0, fall_back, cool_down: CoolDown::None };
        match self {
            Self::Upstream(error) => match error.progress {
                Progress::NothingSent => error.class.treatment(),
                // Its content was held here and seen by nobody, but asking again would be paid for twice.
                Progress::ContentSent => Treatment { max_retries: 0, ..error.class.treatment() },
            },
            Self::PromptTooLong { .. } => local(FallBack::ToLargerContext),
            Self::InvalidRequest { .. } => local(FallBack::Never),
            Self::QueueFull { .. }
            | Self::QueueTooLong { .. }
            | Self::ShuttingDown { .. }
            | Self::Failed { .. } => local(FallBack::Always),
        }
    }

    /// When the backend may be asked again, if it says.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(error) => error.retry_after,
            Self::QueueFull { retry_after, .. } | Self::QueueTooLong { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::PromptTooLong { .. }
            | Self::InvalidRequest { .. }
            | Self::ShuttingDown { .. }
            | Self::Failed { .. } => None,
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

/// Why [`Router::serve`](crate::Router::serve) gave no stream.
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
    /// There is no route.
    #[error("there is no route: configure at least one")]
    NoRoute,
    /// A route has no target.
    #[error("route `{route}` has no target: name at least one backend")]
    NoTarget {
        /// The route.
        route: RouteId,
    },
    /// A route names a backend that is none of its targets, or none at all.
    #[error(
        "route `{route}` names `{id}`, which is none of its targets or no backend: add it or mend the name"
    )]
    NotATarget {
        /// The route.
        route: RouteId,
        /// The name.
        id: BackendId,
    },
    /// Two routes answer to one name.
    #[error("two routes answer to the model `{model}`: give it to one of them")]
    DuplicateModel {
        /// The name.
        model: ModelId,
    },
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
    fn a_full_queue_names_its_limit_and_when_to_come_back() {
        let error = BackendError::QueueFull {
            backend: BackendId::new("local"),
            max_waiting: 1024,
            retry_after: Duration::from_secs(3),
        };
        assert_eq!(error.to_string(), "queue of backend `local` is full (1024 waiting): try again in 3 s");
        assert_eq!(error.treatment().fall_back, FallBack::Always);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
}

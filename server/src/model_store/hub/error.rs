//! Why a model of a hub could not be had, by what the user can do about it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hf_hub::api::tokio::ApiError;

use super::select::SelectError;
use crate::config::{HubAccess, HubModel};

/// Why a model of a hub is not there, or could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// No connection, or one that broke off each time.
    #[error(
        "`{id}` is no path on this machine, and {endpoint} cannot be reached to fetch it: check the network, HTTPS_PROXY \
         and HF_ENDPOINT"
    )]
    Unreachable {
        id: String,
        endpoint: String,
        #[source]
        source: Box<ApiError>,
    },
    /// The hub sent nothing for too long.
    #[error("{endpoint} sent nothing of `{file}` for {secs} s: run it again, what is there is kept")]
    Stalled { endpoint: String, file: String, secs: u64 },
    /// The hub accepted the question, and gave no whole answer for too long.
    #[error(
        "`{id}` is no path on this machine, and {endpoint} did not list its files within {secs} s: check the network, \
         HTTPS_PROXY and HF_ENDPOINT"
    )]
    NotListed { id: String, endpoint: String, secs: u64 },
    /// The hub does not know the repository, or does not say that it does.
    #[error(
        "`{id}` is no path on this machine, and {endpoint} has no repository `{repository}`, or shows it only to others: \
         check its name{}", token_hint(*.has_token)
    )]
    NotFound { id: String, endpoint: String, repository: String, has_token: bool },
    /// The repository has no such revision.
    #[error("`{repository}` at {endpoint} has no revision `{revision}`: check --revision")]
    NoRevision { endpoint: String, repository: String, revision: String },
    /// The author asks for consent first.
    #[error(
        "`{repository}` is gated: accept its terms at {endpoint}/{repository}, then {}", gate_hint(*.has_token, endpoint)
    )]
    Gated { endpoint: String, repository: String, has_token: bool },
    /// The token is none, or may not read this repository.
    #[error(
        "{endpoint} refused the token for `{repository}`: make one that may read it at {endpoint}/settings/tokens"
    )]
    TokenRefused { endpoint: String, repository: String },
    /// The hub answered with another status.
    #[error("{endpoint} answered {status} for `{what}`{}", status_hint(*.status))]
    Status { endpoint: String, what: String, status: u16 },
    /// The hub's answer makes no sense.
    #[error(
        "{endpoint} gave an answer for `{repository}` that cannot be used: {problem}; is HF_ENDPOINT a hub?"
    )]
    Answer { endpoint: String, repository: String, problem: String },
    /// No model can be made of its files.
    #[error("`{repository}` cannot be used")]
    Files {
        repository: String,
        #[source]
        source: SelectError,
    },
    /// Not there, and not to be fetched now.
    #[error(
        "`{id}` is no path on this machine, and {} has no snapshot of it at revision `{revision}`: run `spillway pull {id}`{}",
        cache.display(), offline_hint(*access)
    )]
    NotCached { id: String, revision: String, cache: PathBuf, access: HubAccess },
    /// Another process has the file.
    #[error("another process is fetching `{file}`: wait for it, or remove {} if there is none", lock.display())]
    Busy { file: String, lock: PathBuf },
    /// No room.
    #[error("the disk of {} is full: free some room or set HF_HUB_CACHE to another one, then run it again", path.display())]
    DiskFull { path: PathBuf },
    /// The disk refused.
    #[error("{} could not be read or written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not what the hub says it is. It has been removed.
    #[error(
        "`{file}` has {found}, the hub names {expected}: it was damaged on its way and is removed; run it again"
    )]
    Damaged { file: String, found: String, expected: String },
    /// The machine gives no thread.
    #[error("a thread for the download could not be started")]
    NoThread {
        #[source]
        source: std::io::Error,
    },
    /// hf-hub failed in a way of its own.
    #[error("`{file}` could not be fetched")]
    Fetch {
        file: String,
        #[source]
        source: Box<ApiError>,
    },
}

fn token_hint(has_token: bool) -> &'static str {
    if has_token { ", and that the token may see it" } else { ", or set HF_TOKEN to a token that may see it" }
}

fn gate_hint(has_token: bool, endpoint: &str) -> String {
    if has_token {
        "wait until its author grants access to the owner of the token".to_owned()
    } else {
        format!("make a token at {endpoint}/settings/tokens and set HF_TOKEN to it")
    }
}

fn status_hint(status: u16) -> &'static str {
    match status {
        429 => ": too many requests; try again later, or set HF_TOKEN for a higher limit",
        500.. => ": the hub is in trouble; try again later",
        _ => "",
    }
}

fn offline_hint(access: HubAccess) -> &'static str {
    match access {
        HubAccess::Online => "",
        HubAccess::Offline => {
            " where there is a network, and without HF_HUB_OFFLINE, which forbids to fetch it"
        }
    }
}

impl HubError {
    /// Whether the hub could not be heard, so that what the cache has may stand in.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Stalled { .. } | Self::NotListed { .. })
    }

    /// What a status means that came instead of a repository's list of files. `code` is the hub's own word for it.
    pub(super) fn of_listing(status: u16, code: Option<&str>, model: &HubModel) -> Self {
        let (endpoint, repository) = (model.hub.endpoint.clone(), model.id.repository.clone());
        let has_token = model.hub.token.is_some();
        match (status, code) {
            (_, Some("RevisionNotFound")) => {
                Self::NoRevision { endpoint, repository, revision: model.revision.clone() }
            }
            (401 | 403, Some("GatedRepo")) => Self::Gated { endpoint, repository, has_token },
            (401 | 404, Some("RepoNotFound")) | (401, None) if !has_token => {
                Self::NotFound { id: model.id.to_string(), endpoint, repository, has_token }
            }
            (404, _) => Self::NotFound { id: model.id.to_string(), endpoint, repository, has_token },
            (401 | 403, _) => Self::TokenRefused { endpoint, repository },
            (status, _) => Self::Status { endpoint, what: repository, status },
        }
    }

    /// What a status means that came instead of a file.
    fn of_file(status: u16, file: &str, is_gated: bool, model: &HubModel) -> Self {
        let (endpoint, repository) = (model.hub.endpoint.clone(), model.id.repository.clone());
        let has_token = model.hub.token.is_some();
        match status {
            401 | 403 if is_gated => Self::Gated { endpoint, repository, has_token },
            401 | 403 => Self::TokenRefused { endpoint, repository },
            status => Self::Status { endpoint, what: format!("{repository}/{file}"), status },
        }
    }

    /// What an error of hf-hub means that came instead of an answer.
    pub(super) fn from_api(error: ApiError, model: &HubModel) -> Self {
        Self::Unreachable {
            id: model.id.to_string(),
            endpoint: model.hub.endpoint.clone(),
            source: Box::new(error),
        }
    }

    /// What an error of hf-hub means that came instead of a file.
    pub(super) fn of_download(error: ApiError, file: &str, is_gated: bool, model: &HubModel) -> Self {
        let named = file.to_owned();
        match error {
            ApiError::TooManyRetries(last) => Self::of_download(*last, file, is_gated, model),
            ApiError::RequestError(error) => match error.status() {
                Some(status) => Self::of_file(status.as_u16(), file, is_gated, model),
                None => Self::from_api(ApiError::RequestError(error), model),
            },
            ApiError::IoError(source) => Self::io(&model.hub.cache, source),
            ApiError::LockAcquisition(lock) => Self::Busy { file: named, lock },
            error
            @ (ApiError::MissingHeader(_) | ApiError::InvalidHeader(_) | ApiError::ParseIntError(_)) => {
                Self::answer(model, format!("{error}, of `{file}`"))
            }
            error => Self::Fetch { file: named, source: Box::new(error) },
        }
    }

    /// An answer that cannot be used.
    pub(super) fn answer(model: &HubModel, problem: String) -> Self {
        Self::Answer {
            endpoint: model.hub.endpoint.clone(),
            repository: model.id.repository.clone(),
            problem,
        }
    }

    /// The disk refused.
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, source },
        }
    }
}

//! Models that are more than a path: where they come from, where they lie, and how they get there.
//!
//! # Invariants
//!
//! - What is handed out is whole: a file of the demo model has its pinned hash, a file of a hub the size and the hash
//!   that the hub names.
//!
//! In a request's path: not at all; asked once at start, and by `spillway pull`.

mod checksum;
mod demo;
mod hub;

use std::path::PathBuf;

use crate::config::ModelChoice;

/// Why a model is not there, or could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It was to be the demo model.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    /// It was to come from a hub.
    #[error(transparent)]
    Hub(#[from] hub::HubError),
}

/// What `spillway pull` did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// It was there, whole.
    AlreadyThere(PathBuf),
    /// It was fetched.
    Fetched(PathBuf),
}

/// Where a model is that is to be served. One of a hub is fetched if it is not there yet; the demo model is not, since it
/// comes by way of another program.
pub(crate) fn locate(choice: &ModelChoice) -> Result<PathBuf, StoreError> {
    match choice {
        ModelChoice::Path(path) => Ok(path.clone()),
        ModelChoice::Demo { cache } => Ok(demo::find(cache)?),
        ModelChoice::Hub(model) => match hub::locate(model)? {
            Pulled::AlreadyThere(path) | Pulled::Fetched(path) => Ok(path),
        },
    }
}

/// Where a model is if it is on this machine; nothing is fetched.
pub(crate) fn find(choice: &ModelChoice) -> Result<PathBuf, StoreError> {
    match choice {
        ModelChoice::Path(path) => Ok(path.clone()),
        ModelChoice::Demo { cache } => Ok(demo::find(cache)?),
        ModelChoice::Hub(model) => Ok(hub::find(model)?),
    }
}

/// Sees to it that a model is on this machine.
pub(crate) fn pull(choice: &ModelChoice) -> Result<Pulled, StoreError> {
    match choice {
        ModelChoice::Path(path) => Ok(Pulled::AlreadyThere(path.clone())),
        ModelChoice::Demo { cache } => Ok(demo::pull(cache)?),
        ModelChoice::Hub(model) => Ok(hub::pull(model)?),
    }
}

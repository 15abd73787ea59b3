//! Models of a hub: from an id to files in the cache folder that all of the hub's tools share.
//!
//! The crate `hf-hub` downloads, resumes and keeps the folder's layout. This module chooses the files, pins all of them
//! to one commit, checks each against the size and hash that the hub names, and says in words what went wrong.
//!
//! # Invariants
//!
//! - `refs/<revision>` names a commit only once all of its chosen files are there and checked, so that the cache alone
//!   suffices from then on.
//! - No name that the hub sends leads out of the cache folder.

mod cached;
mod error;
mod fetch;
mod listing;
mod progress;
mod select;

use std::path::PathBuf;

pub(crate) use error::HubError;

use super::Pulled;
use crate::config::{HubAccess, HubModel};

/// Where the model is: as the hub has it now, or, if the hub cannot be reached, as the cache has it.
pub(super) fn locate(model: &HubModel) -> Result<Pulled, HubError> {
    match pull(model) {
        Err(error) if error.is_of_connection() => match cached::find(model) {
            Ok(path) => {
                tracing::warn!(model = %model.id, %error, "the hub cannot be reached: using the cached snapshot");
                Ok(Pulled::AlreadyThere(path))
            }
            Err(_) => Err(error),
        },
        outcome => outcome,
    }
}

/// Where the cache has the model.
pub(super) fn find(model: &HubModel) -> Result<PathBuf, HubError> {
    cached::find(model)
}

/// Sees to it that the cache holds what the hub has; offline, that it holds the model at all.
pub(super) fn pull(model: &HubModel) -> Result<Pulled, HubError> {
    match model.hub.access {
        HubAccess::Offline => cached::find(model).map(Pulled::AlreadyThere),
        HubAccess::Online => fetch::fetch(model),
    }
}

/// What the model loader takes, given the folder of one commit.
fn model_path(snapshot: PathBuf, selection: &select::Selection) -> PathBuf {
    match selection {
        select::Selection::Folder { .. } => snapshot,
        select::Selection::Gguf(file) => snapshot.join(file),
    }
}

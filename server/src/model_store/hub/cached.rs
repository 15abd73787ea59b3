//! A model in the cache folder, found without asking the hub.

use std::path::{Path, PathBuf};

use super::error::HubError;
use super::model_path;
use super::select::{self, INDEX_FILE, Selection, Weights};
use crate::config::HubModel;

/// Folders of a snapshot that are looked into, one inside the other.
const MAX_DEPTH: usize = 4;

/// The model as some download has left it, if it is complete.
pub(super) fn find(model: &HubModel) -> Result<PathBuf, HubError> {
    let repository = repository_folder(model);
    let Some(snapshot) = snapshot(&repository, &model.revision) else {
        return Err(HubError::NotCached {
            id: model.id.to_string(),
            revision: model.revision.clone(),
            cache: model.hub.cache.clone(),
            access: model.hub.access,
        });
    };
    let mut names = Vec::new();
    list(&snapshot, "", MAX_DEPTH, &mut names).map_err(|source| HubError::io(&snapshot, source))?;
    names.sort();
    let unfit = |source| HubError::Files { repository: snapshot.display().to_string(), source };
    let selection = select::select(&names, &model.id.files).map_err(unfit)?;
    if let Selection::Folder { weights: Weights::Indexed, .. } = &selection {
        let index_path = snapshot.join(INDEX_FILE);
        let index = std::fs::read(&index_path).map_err(|source| HubError::io(&index_path, source))?;
        select::shards(&index, &names).map_err(unfit)?;
    }
    Ok(model_path(snapshot, &selection))
}

/// The folder of a repository in the cache.
pub(super) fn repository_folder(model: &HubModel) -> PathBuf {
    model.hub.cache.join(format!("models--{}", model.id.repository.replace('/', "--")))
}

/// The snapshot that a branch or tag points to, or that is named by its commit.
fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    if revision.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return None;
    }
    let commit = match std::fs::read_to_string(repository.join("refs").join(revision)) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => revision.to_owned(),
    };
    let is_plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let snapshot = repository.join("snapshots").join(commit);
    (is_plain && snapshot.is_dir()).then_some(snapshot)
}

/// Names the files below a folder. Links to nothing are no files.
fn list(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_file() {
            names.push(format!("{prefix}{name}"));
        } else if path.is_dir() && depth > 0 {
            list(&path, &format!("{prefix}{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}

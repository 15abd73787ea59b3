//! Brings a model's files from the hub into the cache.
//!
//! A file comes in pieces, and a piece that is there stays there: whatever breaks off is gone on with, in this run or in a
//! later one. Each attempt has a runtime of its own, because the crate leaves the tasks of a failed download behind; they
//! end with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::tokio::{Api, ApiBuilder};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::super::Pulled;
use super::super::checksum::hash_of_file;
use super::cached::repository_folder;
use super::error::HubError;
use super::listing::{self, Listing, RemoteFile};
use super::model_path;
use super::progress::FileProgress;
use super::select::{self, INDEX_FILE, Selection, Weights};
use crate::config::{HubModel, HubToken};

/// Bytes of one piece: what is lost at most when a connection breaks.
const PIECE_BYTES: usize = 16 << 20;
/// How often a file is tried whose connection breaks.
const MAX_ATTEMPTS: u32 = 8;
/// Time before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest time for the list of files, which is short.
const LISTED_WITHIN: Duration = Duration::from_mins(1);
/// Longest time without a single byte. The crate below has no limit of its own.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// Sees to it that the cache holds the chosen files of the revision as the hub has it now.
pub(super) fn fetch(model: &HubModel) -> Result<Pulled, HubError> {
    let listing = on_runtime(async {
        let repository = api(model)?.repo(repository(model, &model.revision));
        listed(model, listing::read(&repository, model)).await
    })?;
    let names = listing.names();
    let unfit = |source| HubError::Files { repository: model.id.repository.clone(), source };
    let selection = select::select(&names, &model.id.files).map_err(unfit)?;

    let cache = Cache::new(model.hub.cache.clone()).repo(repository(model, &listing.commit));
    let pinned = Pinned { model, listing: &listing, cache };
    let mut num_fetched = 0;
    match &selection {
        Selection::Gguf(file) => num_fetched += pinned.bring(std::slice::from_ref(file))?,
        Selection::Folder { files, weights } => {
            num_fetched += pinned.bring(files)?;
            if *weights == Weights::Indexed {
                let index_path = pinned.snapshot().join(INDEX_FILE);
                let index = std::fs::read(&index_path).map_err(|source| HubError::io(&index_path, source))?;
                num_fetched += pinned.bring(&select::shards(&index, &names).map_err(unfit)?)?;
            }
        }
    }
    pinned.point_to_commit()?;
    let path = model_path(pinned.snapshot(), &selection);
    Ok(if num_fetched == 0 { Pulled::AlreadyThere(path) } else { Pulled::Fetched(path) })
}

/// The list of files, if it comes in time.
async fn listed<T>(
    model: &HubModel,
    listing: impl Future<Output = Result<T, HubError>>,
) -> Result<T, HubError> {
    tokio::time::timeout(LISTED_WITHIN, listing).await.unwrap_or_else(|_| {
        Err(HubError::NotListed {
            id: model.id.to_string(),
            endpoint: model.hub.endpoint.clone(),
            secs: LISTED_WITHIN.as_secs(),
        })
    })
}

/// Runs a future on a runtime that takes with it whatever tasks the future leaves behind.
fn on_runtime<T>(future: impl Future<Output = Result<T, HubError>>) -> Result<T, HubError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|source| HubError::NoThread { source })?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}

fn repository(model: &HubModel, revision: &str) -> Repo {
    Repo::with_revision(model.id.repository.clone(), RepoType::Model, revision.to_owned())
}

fn api(model: &HubModel) -> Result<Api, HubError> {
    ApiBuilder::from_cache(Cache::new(model.hub.cache.clone()))
        .with_endpoint(model.hub.endpoint.clone())
        .with_token(model.hub.token.as_ref().map(HubToken::secret).map(str::to_owned))
        .with_progress(false)
        .with_chunk_size(Some(PIECE_BYTES))
        .with_user_agent("spillway", env!("CARGO_PKG_VERSION"))
        .build()
        .map_err(|error| HubError::from_api(error, model))
}

/// A repository at one commit: files of two commits are never mixed, even if the branch moves meanwhile.
struct Pinned<'a> {
    model: &'a HubModel,
    listing: &'a Listing,
    cache: CacheRepo,
}

impl Pinned<'_> {
    /// The folder of the commit.
    fn snapshot(&self) -> PathBuf {
        self.cache.pointer_path(&self.listing.commit)
    }

    /// Brings files, one after the other, and counts those that were not there.
    fn bring(&self, names: &[String]) -> Result<usize, HubError> {
        let mut num_fetched = 0;
        for name in names {
            let Some(file) = self.listing.file(name) else { continue };
            if !self.is_there(file) && !self.link_known_blob(file)? {
                self.download(file)?;
                num_fetched += 1;
            }
        }
        Ok(num_fetched)
    }

    /// Whether the file is there with its size. What was checked when it came is not hashed again.
    fn is_there(&self, file: &RemoteFile) -> bool {
        let metadata = std::fs::metadata(self.snapshot().join(&file.name));
        metadata.is_ok_and(|metadata| file.size_bytes.is_none_or(|size| size == metadata.len()))
    }

    /// Another commit may have had the same contents: then a link is enough.
    fn link_known_blob(&self, file: &RemoteFile) -> Result<bool, HubError> {
        let Some(blob) = file.blob.as_deref().map(|blob| self.cache.blob_path(blob)) else {
            return Ok(false);
        };
        let is_whole = std::fs::metadata(&blob).is_ok_and(|blob| Some(blob.len()) == file.size_bytes);
        if !is_whole {
            return Ok(false);
        }
        let pointer = self.snapshot().join(&file.name);
        remove_if_there(&pointer)?;
        let folder = pointer.parent().unwrap_or(&pointer);
        std::fs::create_dir_all(folder).map_err(|source| HubError::io(folder, source))?;
        // Up from the file to the repository's folder: its own folders, the commit's, and `snapshots`.
        let up = "../".repeat(file.name.split('/').count() + 1);
        let target = format!("{up}blobs/{}", file.blob.as_deref().unwrap_or_default());
        link(Path::new(&target), &pointer).map_err(|source| HubError::io(&pointer, source))?;
        Ok(true)
    }

    /// Fetches a file and checks it. What an earlier attempt left is gone on with.
    fn download(&self, file: &RemoteFile) -> Result<(), HubError> {
        // A link to nothing, or a file of the wrong size, would be left as it is.
        remove_if_there(&self.snapshot().join(&file.name))?;
        let progress = FileProgress::new(&file.name);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match on_runtime(self.attempt(file, &progress)) {
                Ok(path) => return check(&path, file),
                Err(error @ (HubError::Unreachable { .. } | HubError::Stalled { .. }))
                    if attempt < MAX_ATTEMPTS && progress.has_begun() =>
                {
                    tracing::warn!(file = %file.name, %error, attempt, "the connection broke: trying again");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn attempt(&self, file: &RemoteFile, progress: &FileProgress) -> Result<PathBuf, HubError> {
        let remote = api(self.model)?.repo(repository(self.model, &self.listing.commit));
        tokio::select! {
            path = remote.download_with_progress(&file.name, progress.clone()) => path.map_err(|error| {
                HubError::of_download(error, &file.name, self.listing.is_gated, self.model)
            }),
            () = stalled(progress) => Err(HubError::Stalled {
                endpoint: self.model.hub.endpoint.clone(),
                file: file.name.clone(),
                secs: STALLED_AFTER.as_secs(),
            }),
        }
    }

    /// Makes the revision's name mean this commit. hf-hub has left one under the commit's own name, which no tool needs.
    fn point_to_commit(&self) -> Result<(), HubError> {
        let commit = &self.listing.commit;
        let folder = repository_folder(self.model);
        remove_if_there(&folder.join("refs").join(commit))?;
        if *commit == self.model.revision {
            return Ok(());
        }
        let revision =
            Cache::new(self.model.hub.cache.clone()).repo(repository(self.model, &self.model.revision));
        revision.create_ref(commit).map_err(|source| HubError::io(&folder, source))
    }
}

/// Returns once no byte has come for too long.
async fn stalled(progress: &FileProgress) {
    let mut before = progress.fetched_bytes();
    loop {
        tokio::time::sleep(STALLED_AFTER).await;
        let now = progress.fetched_bytes();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Compares a file with what the hub says of it, and removes it if it is another.
fn check(path: &Path, file: &RemoteFile) -> Result<(), HubError> {
    let failed = |source| HubError::io(path, source);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    let (found, expected) = match (&file.sha256, file.size_bytes) {
        (_, Some(expected)) if size != expected => (format!("{size} bytes"), format!("{expected} bytes")),
        (Some(expected), _) => {
            let found = hash_of_file(path).map_err(failed)?;
            if found == *expected {
                return Ok(());
            }
            (format!("sha256 {found}"), format!("sha256 {expected}"))
        }
        (None, _) => return Ok(()),
    };
    let blob = std::fs::canonicalize(path).map_err(failed)?;
    remove_if_there(path)?;
    remove_if_there(&blob)?;
    Err(HubError::Damaged { file: file.name.clone(), found, expected })
}

fn remove_if_there(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(HubError::io(path, source)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn link(target: &Path, pointer: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn link(target: &Path, pointer: &Path) -> std::io::Result<()> {
    let folder = pointer.parent().unwrap_or(pointer);
    std::fs::hard_link(folder.join(target), pointer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HubAccess, HubConfig, HubFiles, HubId};

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_gives_no_list_is_given_up_for_the_cache() {
        let model = HubModel {
            id: HubId { repository: "org/tied".to_owned(), files: HubFiles::Usual },
            revision: "main".to_owned(),
            hub: HubConfig {
                endpoint: "http://hub".to_owned(),
                cache: PathBuf::from("/cache"),
                token: None,
                access: HubAccess::Online,
            },
        };
        let error = listed(&model, std::future::pending::<Result<(), _>>()).await.expect_err("nothing comes");
        assert!(error.to_string().contains("did not list its files within 60 s"), "{error}");
        assert!(error.is_of_connection());
    }
}

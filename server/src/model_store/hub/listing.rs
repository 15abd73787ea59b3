//! What a repository holds at one revision, as the hub tells it.

use std::path::Path;

use hf_hub::api::tokio::{ApiError, ApiRepo};
use serde::Deserialize;

use super::error::HubError;
use crate::config::HubModel;

/// Longest answer that is read; the repositories with the most files stay below a hundredth of it.
const MAX_LISTING_BYTES: usize = 64 << 20;

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// The commit.
    pub(super) commit: String,
    /// Whether its files are given only to those who accepted its terms.
    pub(super) is_gated: bool,
    /// Its files.
    pub(super) files: Vec<RemoteFile>,
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Path in the repository: parts joined by slashes, none of which leads upwards.
    pub(super) name: String,
    /// Its size, if the hub says it.
    pub(super) size_bytes: Option<u64>,
    /// The name of its contents in the cache: their hash in git, or their SHA-256.
    pub(super) blob: Option<String>,
    /// The SHA-256 of its contents; only large files have one.
    pub(super) sha256: Option<String>,
}

/// The hub's answer, as far as it matters here.
#[derive(Deserialize)]
struct WireListing {
    sha: String,
    #[serde(default)]
    gated: serde_json::Value,
    siblings: Vec<WireFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFile {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<WireLargeFile>,
}

#[derive(Deserialize)]
struct WireLargeFile {
    sha256: String,
    size: u64,
}

/// Asks the hub for a repository's files.
pub(super) async fn read(repository: &ApiRepo, model: &HubModel) -> Result<Listing, HubError> {
    let request = repository.info_request().query(&[("blobs", "true")]);
    let failed = |error| HubError::from_api(ApiError::from(error), model);
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        return Err(HubError::of_listing(response.status().as_u16(), code, model));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_LISTING_BYTES {
            return Err(HubError::answer(
                model,
                format!("its list of files is over {MAX_LISTING_BYTES} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    parse(&bytes).map_err(|problem| HubError::answer(model, problem))
}

/// Reads the answer. Files whose names would lead out of a folder are left out.
fn parse(json: &[u8]) -> Result<Listing, String> {
    let wire: WireListing =
        serde_json::from_slice(json).map_err(|error| format!("its list of files: {error}"))?;
    if !is_hash(&wire.sha) {
        return Err(format!("its list of files names `{}` as the commit", wire.sha));
    }
    let files = wire.siblings.into_iter().filter(|file| is_inside(&file.rfilename)).map(|file| {
        let (size_bytes, sha256) = match file.lfs {
            Some(large) => (Some(large.size), Some(large.sha256)),
            None => (file.size, None),
        };
        let sha256 = sha256.filter(|hash| is_hash(hash));
        let blob = sha256.clone().or(file.blob_id).filter(|blob| is_hash(blob));
        RemoteFile { name: file.rfilename, size_bytes, blob, sha256 }
    });
    // `false`, or the way in which access is granted.
    let is_gated = wire.gated.as_str().is_some() || wire.gated.as_bool() == Some(true);
    Ok(Listing { commit: wire.sha, is_gated, files: files.collect() })
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a name, joined to a folder, stays inside it.
fn is_inside(name: &str) -> bool {
    let parts = Path::new(name).components();
    !name.is_empty()
        && !name.contains('\\')
        && parts.clone().all(|part| matches!(part, std::path::Component::Normal(_)))
        && parts.count() == name.split('/').count()
}

impl Listing {
    /// The names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    /// What is known of a file.
    pub(super) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn sizes_hashes_and_gates_are_read() {
        let sha256 = "ab".repeat(32);
        let json = format!(
            r#"{{"sha": "{COMMIT}", "gated": "manual", "siblings": [
                {{"rfilename": "config.json", "size": 12, "blobId": "{COMMIT}"}},
                {{"rfilename": "q/m.gguf", "size": 99, "blobId": "{COMMIT}",
                  "lfs": {{"sha256": "{sha256}", "size": 99, "pointerSize": 134}}}}]}}"#
        );
        let listing = parse(json.as_bytes()).expect("it is well formed");
        assert!(listing.is_gated);
        let config = listing.file("config.json").expect("it is listed");
        assert_eq!(
            (config.size_bytes, config.blob.as_deref(), &config.sha256),
            (Some(12), Some(COMMIT), &None)
        );
        let gguf = listing.file("q/m.gguf").expect("it is listed");
        assert_eq!((gguf.size_bytes, gguf.blob.as_ref()), (Some(99), Some(&sha256)));
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_left_out() {
        let names = ["../a", "/a", "a/../b", "a//b", "./a", "a\\b", "", "ok.json", "a/ok.gguf"];
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({"rfilename": name})).collect();
        let json = serde_json::json!({"sha": COMMIT, "gated": false, "siblings": siblings});
        let listing = parse(json.to_string().as_bytes()).expect("it is well formed");
        assert_eq!(listing.names(), ["ok.json", "a/ok.gguf"]);
        assert!(!listing.is_gated);
    }

    #[test]
    fn a_commit_that_is_no_hash_is_refused() {
        let json = br#"{"sha": "../../etc", "siblings": []}"#;
        assert!(parse(json).expect_err("no hash").contains("../../etc"));
    }
}

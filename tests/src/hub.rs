//! A small hub on this machine: the paths that Hugging Face's clients ask for, with their headers, and faults on demand.
//!
//! As on the real one, small files come from the hub itself, under the hash that git has for them (here: of their name and
//! length), and large files from another host to which it redirects, under their SHA-256.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Files from this size on are large ones.
const LARGE_BYTES: usize = 30_000;
/// Bytes that are sent at once.
const CHUNK_BYTES: usize = 1 << 16;

/// A hub that answers as long as it lives.
pub struct TestHub {
    shared: Arc<Shared>,
    /// Dropped with the hub, and the server with it.
    _server: JoinSet<()>,
}

/// One repository.
#[derive(Debug, Clone, Default)]
pub struct HubRepository {
    /// The commit that `main` points to: 40 hexadecimal digits.
    pub commit: String,
    /// Its files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Who gets its files.
    pub access: RepositoryAccess,
}

/// Who gets a repository's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RepositoryAccess {
    /// Everybody.
    #[default]
    Public,
    /// Who has this token; everybody may see their names.
    Gated(String),
    /// Who has this token; nobody else knows that it exists.
    Private(String),
}

/// Something that goes wrong once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before this byte of a file is sent.
    BreakBefore {
        /// The file.
        file: String,
        /// The byte's position.
        byte: usize,
    },
    /// A request for this byte of a file gets this status.
    Status {
        /// The file.
        file: String,
        /// The byte's position.
        byte: usize,
        /// The status.
        status: u16,
    },
    /// This byte of a file is another one.
    Flip {
        /// The file.
        file: String,
        /// The byte's position.
        byte: usize,
    },
}

/// A request for the contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// The file.
    pub file: String,
    /// First byte asked for.
    pub from: usize,
    /// Last byte asked for.
    pub to: usize,
}

struct Shared {
    address: String,
    /// The same machine under another name.
    cdn_address: String,
    repositories: Mutex<BTreeMap<String, HubRepository>>,
    faults: Mutex<Vec<Fault>>,
    requests: Mutex<Vec<FileRequest>>,
}

impl HubRepository {
    /// A public repository with the files of a folder.
    ///
    /// # Panics
    ///
    /// If the folder cannot be read.
    pub fn of_folder(folder: &FilePath, commit_digit: char) -> Self {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("test names are UTF-8");
            files.insert(name.to_owned(), std::fs::read(&path).expect("the file can be read"));
        }
        Self { commit: commit_digit.to_string().repeat(40), files, access: RepositoryAccess::Public }
    }
}

impl TestHub {
    /// Starts a hub without repositories on a free port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            address: format!("http://127.0.0.1:{port}"),
            cdn_address: format!("http://localhost:{port}"),
            repositories: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new()
            .route("/api/models/{owner}/{name}/revision/{revision}", get(list))
            .route("/{owner}/{name}/resolve/{revision}/{*file}", get(resolve))
            .route("/cdn/{owner}/{name}/{*file}", get(cdn))
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await.expect("it serves until it is dropped") });
        Self { shared, _server: server }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Adds or replaces a repository, named `owner/name`.
    pub fn put(&self, id: &str, repository: HubRepository) {
        lock(&self.shared.repositories).insert(id.to_owned(), repository);
    }

    /// Lets something go wrong once.
    pub fn plant(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// What is still to go wrong.
    pub fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        lock(&self.shared.faults)
    }

    /// The requests for contents since the last call; those of a single byte only look at a file.
    pub fn take_requests(&self) -> Vec<FileRequest> {
        let requests = std::mem::take(&mut *lock(&self.shared.requests));
        requests.into_iter().filter(|request| request.to > 0).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A hash that differs with name and length: git's own is not needed to be right.
fn blob_id(name: &str, bytes: &[u8]) -> String {
    sha256(format!("{name} {}", bytes.len()).as_bytes())[..40].to_owned()
}

/// A status with the hub's own word for it.
#[derive(Debug, Clone, Copy)]
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, [("x-error-code", self.1)], "refused").into_response()
    }
}

impl Shared {
    /// The repository, or why it is not shown.
    fn visible(&self, id: &str, revision: &str, headers: &HeaderMap) -> Result<HubRepository, Refusal> {
        let repository = lock(&self.repositories).get(id).cloned();
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let hidden = || match token {
            None => Refusal(StatusCode::UNAUTHORIZED, "RepoNotFound"),
            Some(_) => Refusal(StatusCode::NOT_FOUND, "RepoNotFound"),
        };
        let repository = repository.ok_or_else(hidden)?;
        if let RepositoryAccess::Private(wanted) = &repository.access
            && token != Some(format!("Bearer {wanted}").as_str())
        {
            return Err(hidden());
        }
        if revision != "main" && revision != repository.commit {
            return Err(Refusal(StatusCode::NOT_FOUND, "RevisionNotFound"));
        }
        Ok(repository)
    }

    fn take_fault(&self, is_it: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let position = faults.iter().position(is_it)?;
        Some(faults.remove(position))
    }

    /// Contents in the range asked for, with whatever fault is planted in it.
    fn contents(&self, file: &str, bytes: &[u8], headers: &HeaderMap) -> Response {
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let (from, to) = range.and_then(parse_range).unwrap_or((0, usize::MAX));
        let to = to.min(bytes.len().saturating_sub(1));
        lock(&self.requests).push(FileRequest { file: file.to_owned(), from, to });
        if from >= bytes.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        // A look at the first byte is no reading.
        let is_read = |byte: usize| (from..=to).contains(&byte) && to > 0;
        let fault = self.take_fault(|fault| match fault {
            Fault::BreakBefore { file: name, byte }
            | Fault::Status { file: name, byte, .. }
            | Fault::Flip { file: name, byte } => name == file && is_read(*byte),
        });
        let mut part = bytes[from..=to].to_vec();
        let mut end = part.len();
        match fault {
            Some(Fault::Status { status, .. }) => {
                return StatusCode::from_u16(status).expect("a status").into_response();
            }
            Some(Fault::Flip { byte, .. }) => part[byte - from] ^= 0xff,
            Some(Fault::BreakBefore { byte, .. }) => end = byte - from,
            None => {}
        }
        let content_range = format!("bytes {from}-{to}/{}", bytes.len());
        let content_length = part.len();
        let is_broken = end < part.len();
        let mut chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            part[..end].chunks(CHUNK_BYTES).map(|chunk| Ok(chunk.to_vec())).collect();
        if is_broken {
            chunks.push(Err(std::io::Error::other("planted")));
        }
        Response::builder()
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, content_range)
            .header(header::CONTENT_LENGTH, content_length)
            .body(Body::from_stream(futures::stream::iter(chunks)))
            .expect("the headers are fine")
    }
}

fn parse_range(range: &str) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

async fn list(
    State(hub): State<Arc<Shared>>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let id = format!("{owner}/{name}");
    let repository = match hub.visible(&id, &revision, &headers) {
        Ok(repository) => repository,
        Err(refusal) => return refusal.into_response(),
    };
    let siblings = repository.files.iter().map(|(name, bytes)| {
        let mut file = json!({"rfilename": name, "size": bytes.len(), "blobId": blob_id(name, bytes)});
        if bytes.len() >= LARGE_BYTES {
            file["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
        }
        file
    });
    let gated = match repository.access {
        RepositoryAccess::Gated(_) => Value::from("manual"),
        RepositoryAccess::Public | RepositoryAccess::Private(_) => Value::from(false),
    };
    let siblings: Vec<Value> = siblings.collect();
    axum::Json(json!({"id": id, "sha": repository.commit, "gated": gated, "siblings": siblings}))
        .into_response()
}

async fn resolve(
    State(hub): State<Arc<Shared>>,
    Path((owner, name, revision, file)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let id = format!("{owner}/{name}");
    let repository = match hub.visible(&id, &revision, &headers) {
        Ok(repository) => repository,
        Err(refusal) => return refusal.into_response(),
    };
    if let RepositoryAccess::Gated(wanted) = &repository.access {
        match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            None => return Refusal(StatusCode::UNAUTHORIZED, "GatedRepo").into_response(),
            Some(token) if token != format!("Bearer {wanted}") => {
                return Refusal(StatusCode::FORBIDDEN, "GatedRepo").into_response();
            }
            Some(_) => {}
        }
    }
    let Some(bytes) = repository.files.get(&file) else {
        return Refusal(StatusCode::NOT_FOUND, "EntryNotFound").into_response();
    };
    let mut response = if bytes.len() >= LARGE_BYTES {
        let location = format!("{}/cdn/{id}/{file}", hub.cdn_address);
        let etag = format!("\"{}\"", sha256(bytes));
        (StatusCode::FOUND, [("location", location), ("x-linked-etag", etag)]).into_response()
    } else {
        hub.contents(&file, bytes, &headers)
    };
    let headers = response.headers_mut();
    headers.insert("x-repo-commit", repository.commit.parse().expect("hexadecimal digits"));
    headers
        .insert(header::ETAG, format!("\"{}\"", blob_id(&file, bytes)).parse().expect("hexadecimal digits"));
    response
}

async fn cdn(
    State(hub): State<Arc<Shared>>,
    Path((owner, name, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repository = lock(&hub.repositories).get(&format!("{owner}/{name}")).cloned();
    match repository.as_ref().and_then(|repository| repository.files.get(&file)) {
        Some(bytes) => hub.contents(&file, bytes, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

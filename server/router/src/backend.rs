//! The seam to anything that can serve a request: the local engine today, remote services later.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use spillway_types::{GenerateEvent, GenerateRequest};

use crate::{BackendError, BackendSnapshot};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The cause of a failure inside a backend.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The answer as it comes: `Started`, any number of `Delta`, a `Finished` for each choice, `Done`; or an error, after
/// which nothing follows. Dropping the stream aborts the request.
pub type TokenStream = Pin<Box<dyn Stream<Item = Result<GenerateEvent, BackendError>> + Send>>;

/// Name of a backend, unique within a router. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(Arc<str>);

impl BackendId {
    /// Wraps a configured name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as written in the config.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Anything that can serve a request.
pub trait Backend: Send + Sync {
    /// The name under which logs, metrics and headers know it.
    fn id(&self) -> &BackendId;

    /// Load, health and capabilities at this moment. Called for every request, so it is cheap and takes no lock.
    fn snapshot(&self) -> BackendSnapshot;

    /// Admits a request and starts to serve it.
    ///
    /// # Errors
    ///
    /// A [`BackendError`] if the request is not admitted; later ones come through the stream.
    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<TokenStream, BackendError>>;
}

//! What an operator says of an OpenAI-compatible server. Checked when made, unchanged after.

use std::fmt;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use spillway_router::{BackendId, Capabilities, Feature};

use super::Dialect;

/// One OpenAI-compatible model, at one address or several that are alike.
#[derive(Debug, Clone)]
pub struct CompatibleConfig {
    /// Its name.
    pub id: BackendId,
    /// Where it is: at least one, each once.
    pub replicas: Vec<ReplicaUrl>,
    /// What it can do, and under which terms; `model` is its name there. Features beyond the dialect's are refused.
    pub capabilities: Capabilities,
    /// What kind of server it is.
    pub dialect: Dialect,
    /// Whether it is asked for streams.
    pub delivery: Delivery,
    /// The key that it wants.
    pub api_key: Option<ApiKey>,
    /// Headers that it wants beside.
    pub headers: ExtraHeaders,
    /// Certificates, as DER, that are trusted beside those that everyone trusts: for servers of one's own.
    pub certificates: Vec<Vec<u8>>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How its replicas are watched; not at all if absent.
    pub health: Option<HealthSettings>,
}

/// How answers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// As they come, whatever the client asked for.
    #[default]
    Streamed,
    /// In one piece: for servers that do not stream, or not with their usage.
    Whole,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until it is connected, TLS included.
    pub connect: Duration,
    /// From the start until the first part of a streamed answer.
    pub first_token: Duration,
    /// Between two parts of a streamed answer.
    pub idle: Duration,
    /// For everything.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_token: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(10),
        }
    }
}

/// How replicas are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time between two looks at `/health` and `/metrics`.
    pub interval: Duration,
    /// Longest wait for either of them.
    pub timeout: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), timeout: Duration::from_secs(1) }
    }
}

/// A key for a server. It shows itself in no message.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// Wraps a key.
    ///
    /// # Errors
    ///
    /// [`CompatibleConfigError::InvalidKey`] if a header cannot hold it.
    pub fn new(key: &str) -> Result<Self, CompatibleConfigError> {
        let mut value = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_error| CompatibleConfigError::InvalidKey)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(not shown)")
    }
}

/// Headers of every request. Their values show themselves in no message, since they may be keys.
#[derive(Debug, Clone, Default)]
pub struct ExtraHeaders(HeaderMap);

/// Headers that belong to the connection or to the body.
const OWN_HEADERS: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::ACCEPT_ENCODING,
    header::UPGRADE,
];

impl ExtraHeaders {
    /// Takes names with values.
    ///
    /// # Errors
    ///
    /// [`CompatibleConfigError::InvalidHeader`] names the first that cannot be sent.
    pub fn new<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CompatibleConfigError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let invalid = |reason| CompatibleConfigError::InvalidHeader { name: name.to_owned(), reason };
            let parsed = HeaderName::try_from(name).map_err(|_error| invalid("this is no header's name"))?;
            if OWN_HEADERS.contains(&parsed) {
                return Err(invalid("it is set by the connection itself: leave it out"));
            }
            let mut value = HeaderValue::try_from(value)
                .map_err(|_error| invalid("its value cannot stand in a header"))?;
            value.set_sensitive(true);
            map.append(parsed, value);
        }
        Ok(Self(map))
    }

    pub(super) fn map(&self) -> &HeaderMap {
        &self.0
    }
}

/// Address of a server, without the path of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaUrl {
    base: String,
}

impl ReplicaUrl {
    /// Reads an address as `http://10.0.0.7:8000` or `https://host/path`. A `/v1` at its end is taken off, since it
    /// belongs to the endpoints.
    ///
    /// # Errors
    ///
    /// [`CompatibleConfigError::InvalidUrl`] if it is none, or holds a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, CompatibleConfigError> {
        let invalid = |reason| CompatibleConfigError::InvalidUrl { url: shown(text), reason };
        if text.contains('@') {
            return Err(invalid("it holds a user or a password: put the key into `api_key`"));
        }
        if text.contains(['?', '#']) {
            return Err(invalid("it holds a query or a fragment: leave them out"));
        }
        let uri: Uri = text.parse().map_err(|_error| invalid("it is no address"))?;
        if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(invalid("it must begin with http:// or https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(invalid("it names no host"));
        }
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/');
        Ok(Self { base: base.to_owned() })
    }

    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The address of one of its endpoints. `path` begins with a slash.
    pub(super) fn endpoint(&self, path: &str) -> Uri {
        format!("{}{path}", self.base).parse().expect("a checked address with a plain path after it")
    }
}

/// An address for a message: without what may be a password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        (_, Some((_, host))) => format!("...@{host}"),
        (_, None) => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

/// A server that cannot be set up as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompatibleConfigError {
    /// There is no address.
    #[error("backend `{id}` has no address: give at least one")]
    NoReplica {
        /// Whose.
        id: BackendId,
    },
    /// An address is given twice.
    #[error("backend `{id}` has the address {url} twice: give it once")]
    DuplicateReplica {
        /// Whose.
        id: BackendId,
        /// Which.
        url: String,
    },
    /// An address is none.
    #[error("the address {url} cannot be used: {reason}")]
    InvalidUrl {
        /// Which, without a user or a password.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// The key cannot stand in a header.
    #[error("the API key holds characters that a header cannot hold: check it for line breaks")]
    InvalidKey,
    /// A header cannot be sent.
    #[error("the header `{name}` cannot be sent: {reason}")]
    InvalidHeader {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The dialect does not have a feature.
    #[error("backend `{id}` is said to have {}, which servers of the dialect `{}` do not have", feature.as_str(), dialect.as_str())]
    UnknownFeature {
        /// Whose.
        id: BackendId,
        /// What it is said to have.
        feature: Feature,
        /// What it is.
        dialect: Dialect,
    },
    /// A certificate is none.
    #[error("backend `{id}`: certificate {index} cannot be used as one to trust")]
    InvalidCertificate {
        /// Whose.
        id: BackendId,
        /// Which, from 0.
        index: usize,
    },
}

impl CompatibleConfig {
    pub(super) fn check(&self) -> Result<(), CompatibleConfigError> {
        let id = || self.id.clone();
        if self.replicas.is_empty() {
            return Err(CompatibleConfigError::NoReplica { id: id() });
        }
        for (index, replica) in self.replicas.iter().enumerate() {
            if self.replicas[..index].contains(replica) {
                let url = replica.as_str().to_owned();
                return Err(CompatibleConfigError::DuplicateReplica { id: id(), url });
            }
        }
        let mut told = self.capabilities.features.iter();
        match told.find(|feature| self.dialect.features().all(|known| known != **feature)) {
            Some(&feature) => {
                Err(CompatibleConfigError::UnknownFeature { id: id(), feature, dialect: self.dialect })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_without_the_path_of_its_endpoints() {
        for text in ["http://10.0.0.7:8000", "http://10.0.0.7:8000/", "http://10.0.0.7:8000/v1/"] {
            let url = ReplicaUrl::parse(text).expect("an address");
            assert_eq!(url.endpoint("/v1/models").to_string(), "http://10.0.0.7:8000/v1/models", "{text}");
        }
        let deep = ReplicaUrl::parse("https://host/some/path/v1").expect("an address");
        assert_eq!(deep.endpoint("/health").to_string(), "https://host/some/path/health");
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = ReplicaUrl::parse("http://me:hunter2@host:8000").expect_err("it holds a password");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        for text in ["ftp://host", "host:8000", "http://", "http://host/?key=hunter2", "nonsense"] {
            let error = ReplicaUrl::parse(text).expect_err("it is no address").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn keys_and_headers_show_no_value() {
        let key = ApiKey::new("hunter2").expect("a header can hold it");
        let headers = ExtraHeaders::new([("api-key", "hunter3")]).expect("they can be sent");
        let shown = format!("{key:?} {headers:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(ApiKey::new("a\nb").err(), Some(CompatibleConfigError::InvalidKey));
        assert!(ExtraHeaders::new([("Content-Length", "3")]).is_err());
    }
}

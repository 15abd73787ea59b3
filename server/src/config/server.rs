//! The checked config of the listener: addresses, patience, keys.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api_keys::KnownKey;
use super::raw::{RawSecurity, RawServer, Secret};
use super::{ApiKeys, ByteSize, ConfigError, TimeSpan, out_of_range};

/// How clients reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where everyone asks.
    pub public: Address,
    /// Where metrics are read; with everything else if absent.
    pub admin: Option<Address>,
    /// Time that requests get to finish after a signal.
    pub drain_timeout: Duration,
    /// Longest time of a request; not zero.
    pub request_timeout: Option<Duration>,
    /// Longest time for a request's headers; not zero.
    pub header_timeout: Duration,
    /// Longest time that a client may stall; not zero.
    pub client_timeout: Duration,
    /// Most connections of a port.
    pub max_connections: NonZeroU32,
    /// Most requests at once.
    pub max_concurrent_requests: NonZeroU32,
    /// Largest body of a request; not zero.
    pub max_body: ByteSize,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Address or name.
    pub host: String,
    /// Port; 0 for any.
    pub port: u16,
}

/// Who may ask, and how the way is protected.
#[derive(Debug, Clone)]
pub struct SecurityConfig {
    /// Keys of which clients must show one; everyone may ask if absent.
    pub api_keys: Option<ApiKeys>,
    /// Certificate and key; plain HTTP if absent.
    pub tls: Option<TlsConfig>,
    /// Web sites whose pages may ask.
    pub allowed_origins: Vec<String>,
}

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

impl RawServer {
    pub(super) fn validate(self) -> Result<HttpConfig, ConfigError> {
        if self.max_body.bytes() == 0 {
            return Err(out_of_range("max-body", self.max_body, "more than 0B"));
        }
        let request_timeout =
            self.request_timeout.map(|span| positive("request-timeout", span)).transpose()?;
        Ok(HttpConfig {
            public: Address { host: self.host, port: self.port },
            admin: self.admin_port.map(|port| Address { host: self.admin_host, port }),
            drain_timeout: self.drain_timeout.duration(),
            request_timeout,
            header_timeout: positive("header-timeout", self.header_timeout)?,
            client_timeout: positive("client-timeout", self.client_timeout)?,
            max_connections: self.max_connections,
            max_concurrent_requests: self.max_concurrent_requests,
            max_body: self.max_body,
        })
    }
}

/// A span of some length.
pub(super) fn positive(flag: &'static str, span: TimeSpan) -> Result<Duration, ConfigError> {
    if span.duration().is_zero() {
        Err(out_of_range(flag, span, "longer than 0s"))
    } else {
        Ok(span.duration())
    }
}

impl RawSecurity {
    /// Checks every value and reads the file of keys. `environment` is the key given there, `named` are those of
    /// `[[keys]]`.
    pub(super) fn validate(
        self,
        environment: Option<Secret>,
        named: Vec<KnownKey>,
    ) -> Result<SecurityConfig, ConfigError> {
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsConfig { cert, key }),
            (Some(_), None) => return Err(ConfigError::TlsHalf { given: "tls-cert", missing: "tls-key" }),
            (None, Some(_)) => return Err(ConfigError::TlsHalf { given: "tls-key", missing: "tls-cert" }),
        };
        if let Some(origin) = self.allowed_origin.iter().find(|origin| !is_origin(origin)) {
            let expected = "* or a scheme and a host, as in https://chat.example.com";
            return Err(out_of_range("allowed-origin", origin, expected));
        }
        let from_file = self.api_key_file.as_deref().map(keys_of_file).transpose()?.unwrap_or_default();
        let keys: Vec<Secret> = self.api_key.into_iter().chain(environment).chain(from_file).collect();
        Ok(SecurityConfig {
            api_keys: ApiKeys::new(&keys, named)?,
            tls,
            allowed_origins: self.allowed_origin,
        })
    }
}

fn is_origin(text: &str) -> bool {
    text == "*"
        || text.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*', ' '])
        })
}

/// The keys of a file. One without any would leave the server open to all.
fn keys_of_file(path: &Path) -> Result<Vec<Secret>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::KeysUnreadable { path: path.to_owned(), source })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<Secret> = lines.map(|line| Secret::from(line.to_owned())).collect();
    if keys.is_empty() { Err(ConfigError::NoKeys { path: path.to_owned() }) } else { Ok(keys) }
}

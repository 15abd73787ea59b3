//! The checked keys of a backend of type `openai`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri};
use spillway_router::Boundary;
use spillway_store::PriceKey;
use spillway_types::ModelId;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::terms::{self, RemoteTerms};
use super::{BackendContext, CheckedBackends};
use crate::config::Secret;
use crate::config::document::KeyPath;
use crate::config::key_error::{KeyError, Problem};
use crate::config::raw::{RawBackend, RawDialect};

/// Most replicas of one backend.
const MAX_URLS: usize = 64;
/// Most headers that are added.
const MAX_HEADERS: usize = 32;
/// Time between two looks at a replica's health.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// Headers that belong to the protocol.
const OWN_HEADERS: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A server that speaks OpenAI's protocol, or several that serve the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAiSettings {
    /// Its replicas, without a slash at their ends and without `/v1`: at least one, each once.
    pub urls: Vec<String>,
    /// The model's name there.
    pub model: ModelId,
    /// What it knows beyond OpenAI's fields.
    pub dialect: Dialect,
    /// The key that it is shown.
    pub api_key: Option<Secret>,
    /// Headers that it gets, too, by their names in small letters.
    pub headers: BTreeMap<String, Secret>,
    /// Certificates, as DER, that are trusted beside those that everyone trusts.
    pub certificates: Vec<Vec<u8>>,
    /// Time between two looks at a replica's health; not zero.
    pub health_interval: Duration,
    /// Whether it is asked for streams.
    pub streaming: bool,
    /// Limits, prices, patience.
    pub terms: RemoteTerms,
}

/// What a server knows beyond OpenAI's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Nothing.
    OpenAi,
    /// What vLLM does, as another Spillway.
    Vllm,
    /// What llama.cpp's server does.
    LlamaCpp,
}

/// Checks the keys.
pub(super) fn validate(
    mut raw: RawBackend,
    boundary: Boundary,
    at: &KeyPath,
    context: &BackendContext<'_>,
    checked: &mut CheckedBackends,
) -> Result<OpenAiSettings, KeyError> {
    let model = terms::model(raw.model.take(), "Qwen/Qwen2.5-7B-Instruct", at)?;
    let urls = urls(raw.urls.take(), boundary, &at.key("urls"), checked)?;
    let headers = headers(raw.headers.take().unwrap_or_default(), &at.key("headers"))?;
    let api_key = api_key(&mut raw, at, context, checked)?;
    if api_key.is_some() && headers.contains_key("authorization") {
        return Err(at.key("headers").key("authorization").out_of_place("the backend's key goes there"));
    }
    let interval = raw.health_interval.map(|span| at.key("health_interval").positive(span)).transpose()?;
    let priced = PriceKey::new(model.as_str());
    let terms = terms::validate(&mut raw, boundary, &priced, at, context)?;
    Ok(OpenAiSettings {
        urls,
        model,
        dialect: match raw.dialect.unwrap_or(RawDialect::OpenAi) {
            RawDialect::OpenAi => Dialect::OpenAi,
            RawDialect::Vllm => Dialect::Vllm,
            RawDialect::LlamaCpp => Dialect::LlamaCpp,
        },
        api_key,
        certificates: certificates(raw.ca_file, &at.key("ca_file"), checked)?,
        headers,
        health_interval: interval.unwrap_or(HEALTH_INTERVAL),
        streaming: raw.streaming.unwrap_or(true),
        terms,
    })
}

fn urls(
    said: Option<Vec<String>>,
    boundary: Boundary,
    at: &KeyPath,
    checked: &mut CheckedBackends,
) -> Result<Vec<String>, KeyError> {
    let said = said.unwrap_or_default();
    if said.is_empty() {
        return Err(at.missing("give one address or several, as in urls = [\"http://10.0.0.7:8000\"]"));
    }
    if said.len() > MAX_URLS {
        return Err(at.out_of_range(format!("{} long", said.len()), format!("at most {MAX_URLS} long")));
    }
    let mut urls: Vec<String> = Vec::with_capacity(said.len());
    for (url_idx, url) in said.iter().enumerate() {
        let at_url = at.item(url_idx);
        check_url(url, &at_url)?;
        let url = url.trim_end_matches('/');
        // Operators copy the base that OpenAI's clients want.
        let url = url.strip_suffix("/v1").unwrap_or(url).to_owned();
        if let Some(first_idx) = urls.iter().position(|other| *other == url) {
            return Err(at_url.is(Problem::Twice { name: url, first: at.item(first_idx) }));
        }
        if boundary == Boundary::Outside && url.starts_with("http:") && !is_loopback(&url) {
            let expected = "https: prompts cross the boundary in the clear";
            checked.warnings.push(at_url.out_of_range(format!("`{url}`"), expected));
        }
        urls.push(url);
    }
    Ok(urls)
}

/// An address of a server: scheme, host, port, path, and nothing that could hold a secret or change what is asked.
pub(super) fn check_url(url: &str, at: &KeyPath) -> Result<(), KeyError> {
    let expected = "an address as in https://host:8000, without user, query or fragment";
    // What stands before an @ may be a password.
    if url.contains('@') {
        return Err(at.is(Problem::BadSecret { expected }));
    }
    let is_fine = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !url.contains('#')
    });
    if is_fine { Ok(()) } else { Err(at.out_of_range(format!("`{url}`"), expected)) }
}

fn is_loopback(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn headers(said: BTreeMap<String, Secret>, at: &KeyPath) -> Result<BTreeMap<String, Secret>, KeyError> {
    if said.len() > MAX_HEADERS {
        return Err(at.out_of_range(format!("{} long", said.len()), format!("at most {MAX_HEADERS} long")));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in said {
        let at = at.key(&name);
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(lower.as_bytes()).is_err() {
            return Err(at.out_of_range("no name of a header", "letters, digits and hyphens"));
        }
        if OWN_HEADERS.contains(&lower.as_str()) {
            return Err(at.out_of_place("the protocol sets that header"));
        }
        if HeaderValue::from_str(value.reveal()).is_err() {
            return Err(at.is(Problem::BadSecret { expected: "a header's value: visible ASCII and blanks" }));
        }
        if headers.insert(lower, value).is_some() {
            return Err(at.out_of_place("the header is there in another spelling"));
        }
    }
    Ok(headers)
}

/// The key, from the one place that is named.
fn api_key(
    raw: &mut RawBackend,
    at: &KeyPath,
    context: &BackendContext<'_>,
    checked: &mut CheckedBackends,
) -> Result<Option<Secret>, KeyError> {
    let (at_key, at_env, at_file) = (at.key("api_key"), at.key("api_key_env"), at.key("api_key_file"));
    let (key, at) = match (raw.api_key.take(), raw.api_key_env.take(), raw.api_key_file.take()) {
        (None, None, None) => return Ok(None),
        (Some(key), None, None) => {
            let mend =
                "it is better kept elsewhere: name a file in api_key_file or a variable in api_key_env";
            checked.warnings.push(at_key.out_of_place(mend));
            (key, at_key)
        }
        (None, Some(variable), None) => {
            let mend = "set it, or name another";
            let key = context.environment.named(&variable);
            let unknown = || Problem::Unknown {
                name: variable.clone(),
                what: "variable that is set",
                mend: mend.to_owned(),
            };
            (key.ok_or_else(|| at_env.is(unknown()))?, at_env)
        }
        (None, None, Some(path)) => {
            let key = key_of_file(&path, &at_file)?;
            checked.files.push(path);
            (key, at_file)
        }
        (_, Some(_), _) => return Err(at_env.out_of_place("the key is given in another place, too")),
        (_, _, Some(_)) => return Err(at_file.out_of_place("the key is given in another place, too")),
    };
    if key.reveal().is_empty() || !key.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(at.is(Problem::BadSecret { expected: "a key of visible ASCII without blanks" }));
    }
    Ok(Some(key))
}

fn key_of_file(path: &Path, at: &KeyPath) -> Result<Secret, KeyError> {
    let bad = |reason: String| at.is(Problem::BadFile { path: path.display().to_string(), reason });
    let text = std::fs::read_to_string(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(key), None) => Ok(Secret::from(key.to_owned())),
        (None, _) => Err(bad("has no key: write it in a line of its own".to_owned())),
        (Some(_), Some(_)) => Err(bad("has several lines: leave the one of the key".to_owned())),
    }
}

/// The certificates of a PEM file.
fn certificates(
    path: Option<PathBuf>,
    at: &KeyPath,
    checked: &mut CheckedBackends,
) -> Result<Vec<Vec<u8>>, KeyError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let bad = |reason: String| at.is(Problem::BadFile { path: path.display().to_string(), reason });
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    let found = read.map_err(|error| bad(format!("cannot be read as PEM: {error}")))?;
    if found.is_empty() {
        return Err(bad("has no certificate: it must be PEM".to_owned()));
    }
    let certificates = found.iter().map(|certificate| certificate.to_vec()).collect();
    checked.files.push(path);
    Ok(certificates)
}

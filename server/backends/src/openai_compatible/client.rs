//! The HTTP client: connections that are kept, TLS, a limit for connecting. No redirect is followed, no proxy of the
//! environment is used, and no address comes from a request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use spillway_router::{BoxError, BoxFuture, ErrorClass};
use tokio::net::TcpStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tower::Service;

use super::fault::Fault;
use super::{CompatibleConfig, CompatibleConfigError};

/// Connections that are kept for each replica. More may be open at a time.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// For how long a plain connection is kept: below the five seconds after which uvicorn, which serves vLLM, closes it.
const PLAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// For how long one with TLS is kept, which costs more to open: below the minute of common load balancers.
const TLS_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Sends requests to the replicas of one backend. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(super) struct Client {
    http: legacy::Client<TimedConnector, Full<Bytes>>,
    headers: HeaderMap,
}

impl Client {
    pub(super) fn new(config: &CompatibleConfig) -> Result<Self, CompatibleConfigError> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        // A request is one small write: held back, it would wait for an acknowledgement.
        plain.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let is_plain = config.replicas.iter().all(|replica| replica.as_str().starts_with("http:"));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(if is_plain { PLAIN_IDLE_TIMEOUT } else { TLS_IDLE_TIMEOUT })
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(TimedConnector { inner: https, limit: config.timeouts.connect });
        Ok(Self { http, headers: headers(config) })
    }

    /// Posts JSON and waits for the head of the answer.
    pub(super) async fn post(&self, uri: &Uri, body: Bytes) -> Result<Response<Incoming>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.http.request(request).await.map_err(|error| fault(&error))
    }

    /// Waits for the head of an answer to a look.
    pub(super) async fn get(&self, uri: &Uri) -> Result<Response<Incoming>, Fault> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        self.http.request(request).await.map_err(|error| fault(&error))
    }
}

fn headers(config: &CompatibleConfig) -> HeaderMap {
    let mut headers = config.headers.map().clone();
    let agent = HeaderValue::from_static(concat!("spillway/", env!("CARGO_PKG_VERSION")));
    headers.entry(header::USER_AGENT).or_insert(agent);
    if let Some(key) = &config.api_key {
        headers.insert(header::AUTHORIZATION, key.header());
    }
    headers
}

fn tls(config: &CompatibleConfig) -> Result<rustls::ClientConfig, CompatibleConfigError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for (index, certificate) in config.certificates.iter().enumerate() {
        let invalid = || CompatibleConfigError::InvalidCertificate { id: config.id.clone(), index };
        roots.add(CertificateDer::from(certificate.clone())).map_err(|_error| invalid())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of the default versions");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What a failure to send, or to get an answer, means.
fn fault(error: &legacy::Error) -> Fault {
    let reason = root_cause(error);
    if error.is_connect() {
        return Fault::new(ErrorClass::Connect, "connect_failed", format!("it cannot be reached: {reason}"));
    }
    lost(&reason)
}

/// A connection that broke.
pub(super) fn lost(reason: &str) -> Fault {
    Fault::new(ErrorClass::ConnectionLost, "connection_lost", format!("the connection broke: {reason}"))
}

/// The innermost cause: the outer ones only say that something went wrong.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Connects, TLS included, within a limit.
#[derive(Clone)]
struct TimedConnector {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
}

impl Service<Uri> for TimedConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, ctx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(ctx)
    }

    fn call(&mut self, uri: Uri) -> BoxFuture<'static, Result<Self::Response, BoxError>> {
        let (connecting, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move {
            let late = || {
                let message = format!("no connection within {} ms", limit.as_millis());
                io::Error::new(io::ErrorKind::TimedOut, message)
            };
            tokio::time::timeout(limit, connecting).await.map_err(|_elapsed| late())?
        })
    }
}

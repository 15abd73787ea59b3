//! The HTTP client: connections that are kept, TLS, a limit for connecting. No redirect is followed, no proxy of the
//! environment is used, and no address comes from a request.

mod connection;
mod held_waker;
mod pool;
mod reply;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use spillway_router::ErrorClass;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tower::Service;

use super::fault::Fault;
use super::{CompatibleConfig, CompatibleConfigError};
use connection::Connection;
use pool::Pool;
pub(super) use reply::ReplyBody;

/// For how long a plain connection is kept: below the five seconds after which uvicorn, which serves vLLM, closes it.
const PLAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// For how long one with TLS is kept, which costs more to open: below the minute of common load balancers.
const TLS_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Sends requests to the replicas of one backend. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(super) struct Client {
    connector: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
    pools: Arc<HashMap<Origin, Arc<Pool>>>,
    headers: HeaderMap,
}

/// What connections lead to.
type Origin = (Scheme, Authority);

impl Client {
    pub(super) fn new(config: &CompatibleConfig) -> Result<Self, CompatibleConfigError> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        // A request is one small write: held back, it would wait for an acknowledgement.
        plain.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let origins = config.replicas.iter().filter_map(|replica| origin(&replica.endpoint("/")));
        let pools = origins.map(|origin| {
            let max_idle = if origin.0 == Scheme::HTTP { PLAIN_IDLE_TIMEOUT } else { TLS_IDLE_TIMEOUT };
            (origin, Arc::new(Pool::new(max_idle)))
        });
        Ok(Self {
            connector,
            connect_timeout: config.timeouts.connect,
            pools: Arc::new(pools.collect()),
            headers: headers(config),
        })
    }

    /// Posts JSON and waits for the head of the answer.
    pub(super) async fn post(&self, uri: &Uri, body: Bytes) -> Result<Response<ReplyBody>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        self.send(uri, request).await
    }

    /// Waits for the head of an answer to a look.
    pub(super) async fn get(&self, uri: &Uri) -> Result<Response<ReplyBody>, Fault> {
        self.send(uri, Request::new(Full::new(Bytes::new()))).await
    }

    /// Closes connections that have been free for too long, for ever.
    pub(super) async fn sweep(self) {
        let mut ticks = tokio::time::interval(PLAIN_IDLE_TIMEOUT);
        loop {
            ticks.tick().await;
            self.pools.values().for_each(|pool| pool.sweep());
        }
    }

    async fn send(&self, uri: &Uri, mut request: Request<Full<Bytes>>) -> Result<Response<ReplyBody>, Fault> {
        let (pool, host) = self.recipient(uri)?;
        *request.uri_mut() = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into();
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(header::HOST, host);
        loop {
            let kept = pool.take();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(uri).await?,
            };
            match connection.send(request).await {
                Ok(response) => return Ok(response.map(|body| ReplyBody::new(body, connection, pool))),
                Err(mut error) => match error.take_message().filter(|_| is_kept) {
                    // It was closed while it lay there, and nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(lost(&root_cause(error.error()))),
                },
            }
        }
    }

    /// The connections to an address of the config, and its name in requests.
    fn recipient(&self, uri: &Uri) -> Result<(Arc<Pool>, HeaderValue), Fault> {
        let found = origin(uri).and_then(|origin| {
            let host = HeaderValue::try_from(origin.1.as_str()).ok()?;
            Some((Arc::clone(self.pools.get(&origin)?), host))
        });
        found.ok_or_else(|| cannot_reach("its address is not one of the config"))
    }

    async fn connect(&self, uri: &Uri) -> Result<Connection, Fault> {
        let limit = self.connect_timeout;
        let connecting = async {
            let socket = self.connector.clone().call(uri.clone()).await;
            let socket = socket.map_err(|error| cannot_reach(&root_cause(&*error)))?;
            Connection::begin(socket).await.map_err(|error| cannot_reach(&root_cause(&error)))
        };
        let late = |_elapsed| cannot_reach(&format!("no connection within {} ms", limit.as_millis()));
        tokio::time::timeout(limit, connecting).await.map_err(late)?
    }
}

fn origin(uri: &Uri) -> Option<Origin> {
    uri.scheme().cloned().zip(uri.authority().cloned())
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

fn cannot_reach(reason: &str) -> Fault {
    Fault::new(ErrorClass::Connect, "connect_failed", format!("it cannot be reached: {reason}"))
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

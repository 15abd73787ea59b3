//! Certificate and key: read at start, and again when the operator says that they are new.

use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsConfig;

/// The HTTP version that is spoken.
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS of new connections. Those that are open keep what they began with.
pub(in crate::app) struct Tls {
    files: TlsConfig,
    acceptor: watch::Sender<TlsAcceptor>,
}

impl Tls {
    /// Reads both files.
    pub(in crate::app) fn load(files: &TlsConfig) -> anyhow::Result<Self> {
        Ok(Self { files: files.clone(), acceptor: watch::Sender::new(read(files)?) })
    }

    /// Reads both files anew. What cannot be used changes nothing.
    pub(in crate::app) fn reload(&self) {
        match read(&self.files) {
            Ok(acceptor) => {
                self.acceptor.send_replace(acceptor);
                tracing::info!("certificate and key were read anew");
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "the old certificate stays in use"),
        }
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.borrow().clone()
    }
}

fn read(files: &TlsConfig) -> anyhow::Result<TlsAcceptor> {
    let cert = || format!("--tls-cert {}", files.cert.display());
    let key = || format!("--tls-key {}", files.key.display());
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect).with_context(cert)?;
    ensure!(!chain.is_empty(), "{} has no certificate: it must be PEM", cert());
    let private_key = PrivateKeyDer::from_pem_file(&files.key).with_context(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .with_context(|| format!("{} and {} do not go together", cert(), key()))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

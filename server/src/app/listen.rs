//! Ports: accepts connections, as many as may be, and serves each until it ends, stalls, or the server closes.
//!
//! # Invariants
//!
//! - No connection is held for nothing: one that sends no request, or stops reading its answer, is closed in time.
//! - A connection that is dropped drops its requests, which aborts them.

mod connection;
mod stall;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::{Address, HttpConfig};
use connection::Patience;
pub(super) use tls::Tls;

/// Time between two tries to accept when the system has no file or memory for it.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A port that is open.
pub(super) struct Port {
    listener: TcpListener,
    service: Router,
    tls: Option<Arc<Tls>>,
    patience: Patience,
    slots: Arc<Semaphore>,
}

impl Port {
    /// Opens a port. `flags` names those that chose it.
    pub(super) async fn open(
        address: &Address,
        flags: &str,
        service: Router,
        tls: Option<Arc<Tls>>,
        config: &HttpConfig,
    ) -> anyhow::Result<Self> {
        let Address { host, port } = address;
        let listener = TcpListener::bind((host.as_str(), *port))
            .await
            .with_context(|| format!("{flags}: {host} port {port} cannot be listened on"))?;
        let patience = Patience { header: config.header_timeout, stall: config.client_timeout };
        let slots = Arc::new(Semaphore::new(config.max_connections.get() as usize));
        Ok(Self { listener, service, tls, patience, slots })
    }

    /// Where it listens, as clients write it.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.listener.local_addr()?))
    }

    /// Serves until `closed`; then no connection is taken any more, and those that are there end with their requests.
    pub(super) async fn serve(self, closed: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                Some(ended) = connections.join_next() => report(ended),
                (stream, slot) = self.next() => {
                    let (service, tls) = (self.service.clone(), self.tls.clone());
                    let (patience, closed) = (self.patience, closed.clone());
                    connections.spawn(async move {
                        connection::serve(stream, service, tls.as_deref(), patience, closed).await;
                        drop(slot);
                    });
                }
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }

    /// The next connection, once there is room for it. Nothing is lost if it is dropped.
    async fn next(&self) -> (TcpStream, OwnedSemaphorePermit) {
        if self.slots.available_permits() == 0 {
            tracing::warn!("--max-connections are open: further ones wait until one closes");
        }
        let slots = Arc::clone(&self.slots);
        let slot = slots.acquire_owned().await.expect("nobody closes the semaphore");
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, slot),
                Err(error) if is_of_connection(&error) => {
                    tracing::debug!(%error, "a connection broke at once");
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted, trying again");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` is that of the connection, not of the system.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection broke");
    }
}

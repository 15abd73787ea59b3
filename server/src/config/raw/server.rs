//! `[server]`: how clients reach it, and how long it has patience with them.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, TimeSpan};

/// `[server]`.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Server: keys of [server]")]
pub(in crate::config) struct RawServer {
    /// Address or name to listen on; 0.0.0.0 for every interface.
    #[arg(long, default_value_t = RawServer::default().host)]
    pub(in crate::config) host: String,
    /// Port to listen on; 0 for any free one, which the log then names.
    #[arg(long, default_value_t = RawServer::default().port)]
    pub(in crate::config) port: u16,
    /// Address or name of the administrators' port.
    #[arg(long, default_value_t = RawServer::default().admin_host)]
    pub(in crate::config) admin_host: String,
    /// A second port, for /metrics, /health and /version; /metrics is then no longer on --port. 0 for any free one.
    #[arg(long)]
    pub(in crate::config) admin_port: Option<u16>,
    /// Time that requests get to finish after SIGTERM; the rest is aborted.
    #[arg(long, value_name = "DURATION", default_value_t = RawServer::default().drain_timeout)]
    pub(in crate::config) drain_timeout: TimeSpan,
    /// Longest time from a request's arrival to its last token; clients can ask for less in x-spillway-timeout.
    /// Absent: no limit.
    #[arg(long, value_name = "DURATION")]
    pub(in crate::config) request_timeout: Option<TimeSpan>,
    /// Time that a connection may take for the headers of its next request; an idle one is closed after it.
    #[arg(long, value_name = "DURATION", default_value_t = RawServer::default().header_timeout)]
    pub(in crate::config) header_timeout: TimeSpan,
    /// Time that a client may stall while it sends a body or reads an answer; then it is disconnected.
    #[arg(long, value_name = "DURATION", default_value_t = RawServer::default().client_timeout)]
    pub(in crate::config) client_timeout: TimeSpan,
    /// Most connections at once on a port; further ones wait until one closes.
    #[arg(long, value_name = "COUNT", default_value_t = RawServer::default().max_connections)]
    pub(in crate::config) max_connections: NonZeroU32,
    /// Most requests at once, from the first byte of the body to the last of the answer; further ones get 429.
    #[arg(long, value_name = "COUNT", default_value_t = RawServer::default().max_concurrent_requests)]
    pub(in crate::config) max_concurrent_requests: NonZeroU32,
    /// Largest body of a request.
    #[arg(long, value_name = "SIZE", default_value_t = RawServer::default().max_body)]
    pub(in crate::config) max_body: ByteSize,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8000,
            admin_host: "127.0.0.1".to_owned(),
            admin_port: None,
            drain_timeout: TimeSpan::from_secs(30),
            request_timeout: None,
            // Longer than load balancers keep idle connections, so that they never send into a closing one.
            header_timeout: TimeSpan::from_secs(75),
            client_timeout: TimeSpan::from_secs(60),
            // Below the 1024 files that a process may open unless told otherwise.
            max_connections: NonZeroU32::new(900).expect("not zero"),
            max_concurrent_requests: NonZeroU32::new(4096).expect("not zero"),
            max_body: ByteSize::from_mib(32),
        }
    }
}

//! What a backend says of itself when a request is routed: plain data, a moment old.

use std::sync::Arc;
use std::time::Duration;

use spillway_types::ModelId;

/// State of one backend at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendSnapshot {
    /// How busy it is.
    pub load: BackendLoad,
    /// Whether it works.
    pub health: BackendHealth,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// How busy a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BackendLoad {
    /// Sequences that take part in forward passes.
    pub num_running: u32,
    /// Sequences that wait for room.
    pub num_waiting: u32,
    /// Fraction of the KV cache in use, 0 to 1; absent for a backend that does not tell.
    pub kv_cache_usage: Option<f64>,
}

/// Whether a backend works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendHealth {
    /// It serves.
    Ready,
    /// Its current step takes longer than it should. Requests still queue, since the step may end.
    Overdue {
        /// For how long it has run.
        since: Duration,
    },
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It will serve nothing any more.
    Stopped {
        /// Why, in words for the operator.
        reason: Arc<str>,
    },
}

/// What a backend can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Models that it serves.
    pub models: Arc<[ModelId]>,
    /// Whether it can render a conversation; a model without a chat template cannot.
    pub chat: bool,
}

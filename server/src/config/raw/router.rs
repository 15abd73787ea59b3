//! `[router]`, `[[content_rules]]`, `[[keys]]`, `[store]`, `[prices]`: what holds for all routes. What each key means
//! stands in `config/file_keys.rs`, of which the README is made.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::routes::RawPrivacy;
use super::{Secret, is_default};
use crate::config::TimeSpan;
use crate::config::dollars::Dollars;

/// `[router]`. What is absent has the default of the router's room.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawRouter {
    pub(in crate::config) regions: Option<Vec<String>>,
    pub(in crate::config) profile_prefixes: Option<Vec<String>>,
    pub(in crate::config) max_attempts: Option<NonZeroU32>,
    pub(in crate::config) max_time: Option<TimeSpan>,
    pub(in crate::config) base_delay: Option<TimeSpan>,
    pub(in crate::config) max_delay: Option<TimeSpan>,
    pub(in crate::config) hedge_after: Option<TimeSpan>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) breaker: RawBreaker,
    pub(in crate::config) overflow_enter: Option<f64>,
    pub(in crate::config) overflow_leave: Option<f64>,
    pub(in crate::config) overflow_usd_per_minute: Option<Dollars>,
    pub(in crate::config) initial_remote_ttft: Option<TimeSpan>,
    pub(in crate::config) sticky_ttl: Option<TimeSpan>,
    pub(in crate::config) max_sessions: Option<NonZeroU32>,
    pub(in crate::config) gain_model: Option<PathBuf>,
}

/// `breaker = { .. }`: when a backend is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawBreaker {
    pub(in crate::config) window: Option<TimeSpan>,
    pub(in crate::config) min_calls: Option<NonZeroU32>,
    pub(in crate::config) max_failure_ratio: Option<f64>,
    pub(in crate::config) open_for: Option<TimeSpan>,
    pub(in crate::config) num_probes: Option<NonZeroU32>,
}

/// One of `[[content_rules]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawContentRule {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) pattern: Option<String>,
}

/// One of `[[keys]]`. A digest is no key, but of a short one the key can be guessed: it is not shown either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawKey {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) sha256: Option<Secret>,
    pub(in crate::config) privacy: Option<RawPrivacy>,
}

/// `[store]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawStore {
    pub(in crate::config) path: Option<PathBuf>,
}

/// `[prices]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawPrices {
    pub(in crate::config) file: Option<PathBuf>,
}

//! `[[routes]]`: who serves which name. What each key means stands in `config/file_keys.rs`, of which the README is
//! made.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::config::TimeSpan;
use crate::config::dollars::Dollars;

/// One of `[[routes]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawRoute {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) models: Option<Vec<String>>,
    pub(in crate::config) default_privacy: Option<RawPrivacy>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) targets: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) prefer: RawPreference,
    pub(in crate::config) slo_ttft: Option<TimeSpan>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) overflow: Vec<String>,
    pub(in crate::config) strong: Option<RawStrong>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(in crate::config) split: Vec<RawSplitPart>,
    pub(in crate::config) shadow: Option<RawShadow>,
    pub(in crate::config) max_cost_usd: Option<Dollars>,
}

/// `strong = { .. }`: where hard prompts go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawStrong {
    pub(in crate::config) backend: Option<String>,
    pub(in crate::config) share: Option<f64>,
    pub(in crate::config) confidence: Option<RawConfidence>,
}

/// `confidence = { .. }`: how unsure the local model must be of its first tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawConfidence {
    pub(in crate::config) hold_tokens: Option<NonZeroU32>,
    pub(in crate::config) min_mean_logprob: Option<f32>,
    pub(in crate::config) max_entropy: Option<f32>,
    pub(in crate::config) min_margin: Option<f32>,
}

/// One part of `split`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawSplitPart {
    pub(in crate::config) variant: Option<String>,
    pub(in crate::config) backend: Option<String>,
    pub(in crate::config) weight: Option<u32>,
}

/// `shadow = { .. }`: who gets a copy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawShadow {
    pub(in crate::config) backend: Option<String>,
    pub(in crate::config) share: Option<f64>,
}

/// Values of `default_privacy` and `privacy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawPrivacy {
    Standard,
    Private,
}

/// Values of `prefer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawPreference {
    #[default]
    Order,
    Cost,
    Latency,
}

//! The checked `[router]`: what holds for all routes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spillway_backends::BedrockModel;
use spillway_router::{AttemptSettings, BreakerSettings, OverflowSettings, ResidencyRules, RouterSettings};

use super::TimeSpan;
use super::backends::{BackendConfig, BackendKind, is_region};
use super::document::KeyPath;
use super::key_error::KeyError;
use super::raw::{RawBreaker, RawRouter};

/// Most attempts of one request.
const MAX_ATTEMPTS: u32 = 16;
/// Most sessions that are remembered.
const MAX_SESSIONS: u32 = 10_000_000;

/// Checks the section; what is absent has the default of the router's room.
pub(super) fn validate(raw: &RawRouter, backends: &[BackendConfig]) -> Result<RouterSettings, KeyError> {
    let at = KeyPath::section("router");
    let default = RouterSettings::default();
    let sessions = raw.max_sessions.map_or(default.max_sessions, |sessions| sessions.get() as usize);
    if sessions > MAX_SESSIONS as usize {
        return Err(at.key("max_sessions").out_of_range(sessions, format!("at most {MAX_SESSIONS}")));
    }
    Ok(RouterSettings {
        residency: residency(raw, backends, &at)?,
        attempts: attempts(raw, default.attempts, &at)?,
        breaker: breaker(raw.breaker, default.breaker, &at.key("breaker"))?,
        overflow: overflow(raw, default.overflow, &at)?,
        // Zero is a value: nothing sticks.
        sticky_ttl: raw.sticky_ttl.map_or(default.sticky_ttl, TimeSpan::duration),
        max_sessions: sessions,
    })
}

/// The rules, and that no backend is configured that they forbid.
fn residency(raw: &RawRouter, backends: &[BackendConfig], at: &KeyPath) -> Result<ResidencyRules, KeyError> {
    let regions = words(raw.regions.as_deref(), &at.key("regions"), is_region, "a region, as eu-central-1")?;
    let is_prefix =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let expected = "the prefix of an inference profile without its dot, as eu or global";
    let profile_prefixes =
        words(raw.profile_prefixes.as_deref(), &at.key("profile_prefixes"), is_prefix, expected)?;
    for (backend_idx, backend) in backends.iter().enumerate() {
        let BackendKind::Bedrock(settings) = &backend.kind else { continue };
        let profile = BedrockModel::parse(settings.model.as_str())
            .ok()
            .and_then(|model| model.residency(&settings.region).profile_prefix);
        if let (Some(prefix), Some(allowed)) = (profile, &profile_prefixes)
            && !allowed.contains(&prefix)
        {
            let at = KeyPath::section("backends").item(backend_idx).key("model");
            let value = format!("`{}`, whose profile is `{prefix}`", settings.model);
            let expected = "of one of router.profile_prefixes: nothing could ever be sent there";
            return Err(at.out_of_range(value, expected));
        }
        if regions.as_ref().is_some_and(|regions| !regions.contains(&settings.region)) {
            let at = KeyPath::section("backends").item(backend_idx).key("region");
            let expected = "one of router.regions: nothing could ever be sent there";
            return Err(at.out_of_range(format!("`{}`", settings.region), expected));
        }
    }
    Ok(ResidencyRules { regions, profile_prefixes })
}

/// A list of words, each of a form. An empty list would forbid everything, which is better said by no backend.
fn words(
    said: Option<&[String]>,
    at: &KeyPath,
    is_fine: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<Option<BTreeSet<Arc<str>>>, KeyError> {
    let Some(said) = said else { return Ok(None) };
    if said.is_empty() {
        return Err(at.out_of_range("empty", "at least one, or left out to allow any"));
    }
    let mut words = BTreeSet::new();
    for (word_idx, word) in said.iter().enumerate() {
        if !is_fine(word) {
            return Err(at.item(word_idx).out_of_range(format!("`{word}`"), expected));
        }
        words.insert(Arc::from(word.as_str()));
    }
    Ok(Some(words))
}

fn attempts(raw: &RawRouter, default: AttemptSettings, at: &KeyPath) -> Result<AttemptSettings, KeyError> {
    let max_attempts = raw.max_attempts.map_or(default.max_attempts, u32::from);
    if max_attempts > MAX_ATTEMPTS {
        return Err(at.key("max_attempts").out_of_range(max_attempts, format!("at most {MAX_ATTEMPTS}")));
    }
    let settings = AttemptSettings {
        max_attempts,
        max_time: span(raw.max_time, default.max_time, &at.key("max_time"))?,
        base_delay: span(raw.base_delay, default.base_delay, &at.key("base_delay"))?,
        max_delay: span(raw.max_delay, default.max_delay, &at.key("max_delay"))?,
        hedge_after: raw.hedge_after.map(|span| at.key("hedge_after").positive(span)).transpose()?,
    };
    if settings.max_delay < settings.base_delay {
        let key = if raw.max_delay.is_some() { "max_delay" } else { "base_delay" };
        let (base, max) = (TimeSpan::from(settings.base_delay), TimeSpan::from(settings.max_delay));
        let expected = format!("such that max_delay ({max}) is at least base_delay ({base})");
        return Err(at.key(key).out_of_range(if key == "max_delay" { max } else { base }, expected));
    }
    Ok(settings)
}

fn breaker(raw: RawBreaker, default: BreakerSettings, at: &KeyPath) -> Result<BreakerSettings, KeyError> {
    let max_failure_ratio = raw.max_failure_ratio.unwrap_or(default.max_failure_ratio);
    if !(max_failure_ratio > 0.0 && max_failure_ratio <= 1.0) {
        return Err(at.key("max_failure_ratio").out_of_range(max_failure_ratio, "above 0 and at most 1"));
    }
    Ok(BreakerSettings {
        window: span(raw.window, default.window, &at.key("window"))?,
        min_calls: raw.min_calls.map_or(default.min_calls, u32::from),
        max_failure_ratio,
        open_for: span(raw.open_for, default.open_for, &at.key("open_for"))?,
        num_probes: raw.num_probes.map_or(default.num_probes, u32::from),
    })
}

fn overflow(raw: &RawRouter, default: OverflowSettings, at: &KeyPath) -> Result<OverflowSettings, KeyError> {
    let enter = raw.overflow_enter.unwrap_or(default.enter);
    // Twice the goal is late already; more would be no goal.
    if !(enter > 0.0 && enter <= 2.0) {
        return Err(at.key("overflow_enter").out_of_range(enter, "above 0 and at most 2, in goals"));
    }
    // A lower `enter` alone takes the way back with it.
    let leave = raw.overflow_leave.unwrap_or(default.leave.min(enter));
    if !(leave >= 0.0 && leave <= enter) {
        let expected = format!("from 0 to overflow_enter, which is {enter}");
        return Err(at.key("overflow_leave").out_of_range(leave, expected));
    }
    let initial = &at.key("initial_remote_ttft");
    Ok(OverflowSettings {
        enter,
        leave,
        max_spend_per_minute: raw.overflow_usd_per_minute.map(|dollars| dollars.0),
        initial_remote_ttft: span(raw.initial_remote_ttft, default.initial_remote_ttft, initial)?,
    })
}

/// A span of some length, or the default.
fn span(said: Option<TimeSpan>, default: Duration, at: &KeyPath) -> Result<Duration, KeyError> {
    said.map_or(Ok(default), |span| at.positive(span))
}

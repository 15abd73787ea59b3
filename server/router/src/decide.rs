//! Which target is asked first, and who comes after it: filter, score, pick.
//!
//! A pure function of the request, the snapshots and what is remembered. The order of what may move a request from the
//! route's first target: its tag, the split, the score of hard prompts, overflow, the route's preference.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::decision::{Considered, Decision, Gain, Reason, Score, Verdict};
use crate::filter::{exclusions, reservation};
use crate::forecast::Forecast;
use crate::sessions::Place;
use crate::spend::SpendBucket;
use crate::standing::RouteState;
use crate::{
    BackendId, BackendSnapshot, GainEstimator, NoCandidate, Preference, Route, RouteRequest, RouterSettings,
    SplitPart, VariantId,
};

/// A target with its state at this moment.
pub(crate) struct Target<'a> {
    pub(crate) id: &'a BackendId,
    pub(crate) snapshot: BackendSnapshot,
    /// For how long its breaker lets nothing through.
    pub(crate) cooling_down: Option<Duration>,
    /// Its time to the first content as measured lately.
    pub(crate) measured_ttft: Option<Duration>,
    /// Prompt tokens of requests that were sent there and have no first content yet.
    pub(crate) waiting_tokens: u64,
}

/// Everything that a decision is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) request: &'a RouteRequest,
    pub(crate) route: &'a Route,
    pub(crate) settings: &'a RouterSettings,
    pub(crate) state: &'a RouteState,
    pub(crate) spend: &'a SpendBucket,
    /// Where the request's session was served last.
    pub(crate) place: Option<Place>,
    pub(crate) gain: Option<&'a dyn GainEstimator>,
    pub(crate) now: Duration,
}

/// Whether deciding leaves traces: the hysteresis of overflowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A request is served by it.
    Real,
    /// Somebody asks what would be.
    DryRun,
}

/// Decides who serves.
///
/// # Errors
///
/// [`NoCandidate`] if every target is excluded.
pub(crate) fn decide(
    inputs: &Inputs<'_>,
    targets: &[Target<'_>],
    effect: Effect,
) -> Result<Decision, NoCandidate> {
    let considered: Vec<Considered> = targets.iter().map(|target| consider(inputs, target)).collect();
    let mut able = Able::of(&considered);
    let mut decision = Decision {
        route: inputs.route.id.clone(),
        label: inputs.request.label.clone(),
        considered: considered.clone(),
        plan: Vec::new(),
        reason: Reason::Preferred,
        variant: None,
        gain: None,
        slo_ttft: inputs.request.slo_ttft.or(inputs.route.slo_ttft),
    };
    if able.targets.is_empty() {
        let excluded = decision.excluded().collect();
        return Err(NoCandidate::AllExcluded { model: inputs.request.model.clone(), excluded });
    }
    able.sort(inputs.route.preference);
    decision.reason = pick(inputs, targets, &mut able, &mut decision, effect);
    decision.plan = able.targets.into_iter().map(|(id, _)| id.clone()).collect();
    Ok(decision)
}

fn consider(inputs: &Inputs<'_>, target: &Target<'_>) -> Considered {
    let Inputs { request, route, settings, .. } = inputs;
    let capabilities = &target.snapshot.capabilities;
    let found =
        exclusions(request, &target.snapshot, target.cooling_down, route.max_cost, &settings.residency);
    let verdict = if found.is_empty() {
        let warm_tokens = warm_tokens(inputs, target.id);
        let load = &target.snapshot.load;
        let forecast = Forecast::of(load, request.needs.prompt_tokens, warm_tokens, target.waiting_tokens);
        let total = request.needs.prompt_tokens.saturating_add(request.needs.max_tokens.unwrap_or(1));
        Verdict::Able(Score {
            ttft: forecast.ttft.or(target.measured_ttft),
            needs_preemption: forecast.needs_preemption,
            cost: reservation(request, capabilities),
            looks_too_long: capabilities.context_tokens.is_some_and(|most| total > most),
        })
    } else {
        Verdict::Excluded(found)
    };
    Considered { id: target.id.clone(), model: capabilities.model.clone(), verdict }
}

/// Tokens of the prompt that this target's cache likely holds, since the session was served there.
fn warm_tokens(inputs: &Inputs<'_>, id: &BackendId) -> u32 {
    inputs.place.as_ref().filter(|place| place.backend == *id).map_or(0, |place| place.prompt_tokens)
}

/// The targets that may serve, the first choice first.
struct Able<'a> {
    targets: Vec<(&'a BackendId, &'a Score)>,
}

impl<'a> Able<'a> {
    fn of(considered: &'a [Considered]) -> Self {
        let able = considered.iter().filter_map(|considered| match &considered.verdict {
            Verdict::Able(score) => Some((&considered.id, score)),
            Verdict::Excluded(_) => None,
        });
        Self { targets: able.collect() }
    }

    /// In the order of the preference; of equals the route's. What looks too long goes last.
    fn sort(&mut self, preference: Preference) {
        match preference {
            Preference::Order => {}
            Preference::Cost => self.targets.sort_by_key(|(_, score)| score.cost),
            // What is unknown is tried after what is known to be fast.
            Preference::Latency => {
                self.targets.sort_by_key(|(_, score)| score.ttft.unwrap_or(Duration::MAX));
            }
        }
        self.targets.sort_by_key(|(_, score)| score.looks_too_long);
    }

    fn has(&self, id: &BackendId) -> bool {
        self.targets.iter().any(|(able, _)| *able == id)
    }

    /// Puts one first and leaves the others in their order.
    fn put_first(&mut self, id: &BackendId) {
        if let Some(idx) = self.targets.iter().position(|(able, _)| *able == id) {
            self.targets[..=idx].rotate_right(1);
        }
    }
}

/// Puts the target first that is to serve, and says why.
fn pick(
    inputs: &Inputs<'_>,
    targets: &[Target<'_>],
    able: &mut Able<'_>,
    decision: &mut Decision,
    effect: Effect,
) -> Reason {
    let Inputs { request, route, .. } = inputs;
    let tagged = route.tags.iter().find(|(tag, id)| request.tags.contains(tag) && able.has(id));
    if let Some((_, id)) = tagged {
        able.put_first(id);
        return Reason::Tag;
    }
    if let Some(part) = split_part(request, &route.split) {
        decision.variant = Some(part.variant.clone());
        if able.has(&part.backend) {
            able.put_first(&part.backend);
            return Reason::Split;
        }
    }
    decision.gain = gain(inputs, able);
    if let (Some(gain), Some(hard)) = (decision.gain, &route.hard)
        && gain.expected >= gain.threshold
    {
        able.put_first(&hard.strong);
        return Reason::HardPrompt;
    }
    // The hysteresis learns of every request's forecast, also where nobody else could serve it.
    if let Some(id) = overflow(inputs, targets, able, decision.slo_ttft, effect) {
        able.put_first(&id);
        return Reason::Overflow;
    }
    match (able.targets.len(), route.preference) {
        (1, _) => Reason::OnlyCandidate,
        (_, Preference::Order) => Reason::Preferred,
        (_, Preference::Cost) => Reason::Cheapest,
        (_, Preference::Latency) => Reason::Fastest,
    }
}

/// What the strong model is expected to gain, where it may serve and is not the first choice anyway.
fn gain(inputs: &Inputs<'_>, able: &Able<'_>) -> Option<Gain> {
    let hard = inputs.route.hard.as_ref()?;
    let estimator = inputs.gain?;
    let is_first = able.targets.first().is_some_and(|(id, _)| **id == hard.strong);
    if is_first || !able.has(&hard.strong) {
        return None;
    }
    Some(Gain { expected: estimator.gain(&inputs.request.text), threshold: estimator.threshold(hard.share) })
}

/// Where the request overflows to, if its first choice would miss the goal.
fn overflow(
    inputs: &Inputs<'_>,
    targets: &[Target<'_>],
    able: &Able<'_>,
    slo_ttft: Option<Duration>,
    effect: Effect,
) -> Option<BackendId> {
    let (home, home_score) = able.targets.first()?;
    let home_target = targets.iter().find(|target| target.id == *home)?;
    // Only what can tell its load overflows.
    home_target.snapshot.load.engine.as_ref()?;
    let settings = &inputs.settings.overflow;
    // A session whose prefix is warm here overflows last.
    let patience = if warm_tokens(inputs, home) > 0 { WARM_PATIENCE } else { 1.0 };
    let pressure = pressure(home_score, slo_ttft) / patience;
    let was_overflowing = inputs.state.is_overflowing.load(Relaxed);
    let limit = if was_overflowing { settings.leave } else { settings.enter };
    let is_overflowing = pressure >= limit;
    if effect == Effect::Real {
        inputs.state.is_overflowing.store(is_overflowing, Relaxed);
    }
    if !is_overflowing {
        return None;
    }
    let home_ttft = home_score.ttft.filter(|_| !home_score.needs_preemption).unwrap_or(Duration::MAX);
    let is_sooner = |score: &Score| score.ttft.unwrap_or(settings.initial_remote_ttft) < home_ttft;
    let is_affordable = |score: &Score| inputs.spend.has(score.cost, inputs.now);
    inputs
        .route
        .overflow
        .iter()
        .filter_map(|id| able.targets.iter().find(|(able, _)| *able == id))
        .find(|(id, score)| id != home && is_sooner(score) && is_affordable(score))
        .map(|(id, _)| (*id).clone())
}

/// How many times the goal a warm session may wait for its own cache.
const WARM_PATIENCE: f64 = 2.0;

/// The forecast as a share of the goal; a prompt without room in the cache is as late as can be.
fn pressure(score: &Score, slo_ttft: Option<Duration>) -> f64 {
    let Some(goal) = slo_ttft else { return 0.0 };
    if score.needs_preemption {
        return f64::INFINITY;
    }
    let ttft = score.ttft.unwrap_or_default().as_secs_f64();
    if goal.is_zero() { f64::INFINITY } else { ttft / goal.as_secs_f64() }
}

/// The part of a split that a request belongs to: the same for all requests of a session.
fn split_part<'a>(request: &RouteRequest, parts: &'a [SplitPart]) -> Option<&'a SplitPart> {
    let total: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
    let sticky = request.session.as_ref().or(request.key.as_ref()).unwrap_or(&request.name);
    let mut place = stable_hash(sticky.as_bytes()).checked_rem(total)?;
    parts.iter().find(|part| {
        let is_here = place < u64::from(part.weight);
        place = place.saturating_sub(u64::from(part.weight));
        is_here
    })
}

/// FNV-1a with a last mixing step, so that its low bits are good: the same in every build, on every machine.
/// Source: Fowler, Noll, Vo; the mixing step is that of Steele et al., `SplitMix64`.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The variant of a decision that a backend serves, if it is the one that its part names.
pub(crate) fn served_variant(route: &Route, decision: &Decision, backend: &BackendId) -> Option<VariantId> {
    let variant = decision.variant.as_ref()?;
    let part = route.split.iter().find(|part| part.variant == *variant)?;
    (part.backend == *backend).then(|| variant.clone())
}

#[cfg(test)]
mod tests;

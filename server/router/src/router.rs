//! Owns the backends and sees each request served: decided about, tried, tried again, handed over.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use spillway_types::{GenerateRequest, ModelId, TokenPrices};

use crate::attempts::Attempts;
use crate::books::{Clerk, Cost};
use crate::decide::{Effect, Inputs, Target, decide, served_variant};
use crate::sessions::Whose;
use crate::spend::SpendBucket;
use crate::standing::{Memory, RouteState, Standing};
use crate::{
    Backend, BackendId, BackendSnapshot, Capabilities, Decision, GainEstimator, Ledger, NoCandidate,
    Observer, Reason, Route, RouteError, RouteRequest, RouterConfigError, RouterSettings, Runtime,
    TokenStream, VariantId,
};

/// What a router is made of.
pub struct RouterParts {
    /// Who can serve: at least one, each with its own name.
    pub backends: Vec<Arc<dyn Backend>>,
    /// Who serves what: at least one.
    pub routes: Vec<Route>,
    /// What holds for all routes.
    pub settings: RouterSettings,
    /// Time, chance and tasks.
    pub runtime: Arc<dyn Runtime>,
    /// The books.
    pub ledger: Arc<dyn Ledger>,
    /// Who hears of everything.
    pub observer: Arc<dyn Observer>,
    /// Who knows hard prompts.
    pub gain: Option<Arc<dyn GainEstimator>>,
    /// What an earlier router remembered; a new one begins with none.
    pub memory: Arc<Memory>,
}

/// All backends and routes of this process. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) members: HashMap<BackendId, Member>,
    /// In the order of the config.
    order: Vec<BackendId>,
    routes: Vec<(Route, Arc<RouteState>)>,
    by_model: HashMap<ModelId, usize>,
    pub(crate) settings: RouterSettings,
    pub(crate) clerk: Clerk,
    gain: Option<Arc<dyn GainEstimator>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) spend: Arc<SpendBucket>,
}

/// A backend and what is remembered of it.
pub(crate) struct Member {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) standing: Arc<Standing>,
}

/// A request under way: somebody has begun to serve it.
pub struct Routed {
    /// Who serves it.
    pub backend: BackendId,
    /// The model there, in its own words.
    pub model: ModelId,
    /// Why that one.
    pub reason: Reason,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Everything that was weighed.
    pub decision: Decision,
    /// The part of a split that it counts for.
    pub variant: Option<VariantId>,
    /// What it costs, once it is over.
    pub cost: Cost,
    /// The answer. Dropping it aborts the request.
    pub stream: TokenStream,
}

impl Router {
    /// Takes over the parts.
    ///
    /// # Errors
    ///
    /// [`RouterConfigError`] if there is no backend or route, a name is used twice, or a route names what is not there.
    pub fn new(parts: RouterParts) -> Result<Self, RouterConfigError> {
        let RouterParts { backends, routes, settings, runtime, ledger, observer, gain, memory } = parts;
        check(&backends, &routes)?;
        let mut by_model = HashMap::new();
        for (idx, route) in routes.iter().enumerate() {
            by_model.extend(route.models.iter().map(|model| (model.clone(), idx)));
        }
        let order = backends.iter().map(|backend| backend.id().clone()).collect();
        let members = backends.into_iter().map(|backend| {
            let standing = memory.standing(backend.id(), &settings.breaker);
            (backend.id().clone(), Member { backend, standing })
        });
        let shared = Shared {
            members: members.collect(),
            order,
            routes: routes.into_iter().map(|route| (route.clone(), memory.route(&route.id))).collect(),
            by_model,
            spend: memory.spend(settings.overflow.max_spend_per_minute, runtime.now()),
            settings,
            clerk: Clerk { runtime, ledger, observer },
            gain,
            memory,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Every backend's name and state at this moment, in the order of the config.
    pub fn snapshots(&self) -> impl Iterator<Item = (&BackendId, BackendSnapshot)> {
        let member = |id| self.shared.members.get(id).map(|member| (id, member.backend.snapshot()));
        self.shared.order.iter().filter_map(member)
    }

    /// The routes, in the order of the config.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.shared.routes.iter().map(|(route, _)| route)
    }

    /// The route that answers to a name.
    pub fn route(&self, model: &ModelId) -> Option<&Route> {
        self.shared.route(model).map(|(route, _)| route)
    }

    /// What an earlier router's successor should remember.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.shared.memory)
    }

    /// What would be decided about a request now. Leaves no trace.
    ///
    /// # Errors
    ///
    /// [`NoCandidate`] if nobody could serve it.
    pub fn explain(&self, request: &RouteRequest) -> Result<Decision, NoCandidate> {
        let (route, state) = self.shared.known_route(&request.model)?;
        self.shared.decide(request, route, state, Effect::DryRun)
    }

    /// Decides who serves a request, and has it served: returns once an answer has begun that will not be taken back.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if nobody can serve the request, or everybody who was asked failed.
    pub async fn serve(&self, request: &RouteRequest, work: GenerateRequest) -> Result<Routed, RouteError> {
        let (route, state) = self.shared.known_route(&request.model)?;
        let decision = self.shared.decide(request, route, state, Effect::Real)?;
        self.shared.clerk.observer.decided(request, &decision);
        let served = Attempts::new(self, request, route, decision, work).run().await?;
        if let Some(session) = whose(request) {
            let place = (&served.backend, request.needs.prompt_tokens);
            let now = self.shared.clerk.runtime.now();
            self.shared.memory.sessions.served(session, place, self.shared.settings.max_sessions, now);
        }
        Ok(served)
    }
}

impl Shared {
    fn route(&self, model: &ModelId) -> Option<&(Route, Arc<RouteState>)> {
        self.by_model.get(model).and_then(|idx| self.routes.get(*idx))
    }

    fn known_route(&self, model: &ModelId) -> Result<(&Route, &RouteState), NoCandidate> {
        let (route, state) =
            self.route(model).ok_or_else(|| NoCandidate::UnknownModel { model: model.clone() })?;
        Ok((route, state))
    }

    fn decide(
        &self,
        request: &RouteRequest,
        route: &Route,
        state: &RouteState,
        effect: Effect,
    ) -> Result<Decision, NoCandidate> {
        let now = self.clerk.runtime.now();
        let targets: Vec<Target<'_>> = route
            .targets
            .iter()
            .filter_map(|id| {
                let member = self.members.get(id)?;
                Some(Target {
                    id,
                    snapshot: member.backend.snapshot(),
                    cooling_down: member.standing.breaker.closed_for(now),
                    measured_ttft: member.standing.ttft(),
                    waiting_tokens: member.standing.waiting_tokens(),
                })
            })
            .collect();
        let place = whose(request)
            .and_then(|session| self.memory.sessions.place(&session, self.settings.sticky_ttl, now));
        let inputs = Inputs {
            request,
            route,
            settings: &self.settings,
            state,
            spend: &self.spend,
            place,
            gain: self.gain.as_deref(),
            now,
        };
        decide(&inputs, &targets, effect)
    }

    /// What a backend can do, if it is one of ours.
    pub(crate) fn capabilities(&self, id: &BackendId) -> Option<Arc<Capabilities>> {
        self.members.get(id).map(|member| member.backend.snapshot().capabilities)
    }

    /// The prices of the route's strong model: the one for hard prompts, else the last target that costs anything.
    pub(crate) fn strong_prices(&self, route: &Route) -> Option<TokenPrices> {
        let named = route.hard.iter().map(|hard| &hard.strong);
        let mut prices = named.chain(route.targets.iter().rev()).filter_map(|id| self.capabilities(id));
        prices.find(|capabilities| !capabilities.prices.is_free()).map(|capabilities| capabilities.prices)
    }
}

/// The part of a split that counts for what this backend serves.
pub(crate) fn variant(route: &Route, decision: &Decision, backend: &BackendId) -> Option<VariantId> {
    served_variant(route, decision, backend)
}

/// The session of a request, if it belongs to one.
fn whose(request: &RouteRequest) -> Option<Whose> {
    request.session.as_ref().map(|session| (request.key.clone(), Arc::clone(session)))
}

/// Names that are there, and there once.
fn check(backends: &[Arc<dyn Backend>], routes: &[Route]) -> Result<(), RouterConfigError> {
    if backends.is_empty() {
        return Err(RouterConfigError::NoBackend);
    }
    if routes.is_empty() {
        return Err(RouterConfigError::NoRoute);
    }
    let mut ids = BTreeSet::new();
    for backend in backends {
        if !ids.insert(backend.id()) {
            return Err(RouterConfigError::DuplicateId { id: backend.id().clone() });
        }
    }
    let mut names = BTreeSet::new();
    for route in routes {
        let parts = route.split.iter().map(|part| &part.backend);
        let tagged = route.tags.iter().map(|(_, id)| id);
        let others = route.hard.iter().map(|hard| &hard.strong).chain(&route.overflow);
        let moves: Vec<&BackendId> = parts.chain(tagged).chain(others).collect();
        let shadow = route.shadow.iter().map(|shadow| &shadow.backend);
        let unknown = route.targets.iter().chain(shadow).find(|id| !ids.contains(id));
        if let Some(id) = unknown.or_else(|| moves.into_iter().find(|id| !route.targets.contains(id))) {
            return Err(RouterConfigError::NotATarget { route: route.id.clone(), id: id.clone() });
        }
        if route.targets.is_empty() {
            return Err(RouterConfigError::NoTarget { route: route.id.clone() });
        }
        for model in &route.models {
            if !names.insert(model) {
                return Err(RouterConfigError::DuplicateModel { model: model.clone() });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

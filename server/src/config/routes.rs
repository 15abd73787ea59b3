//! The checked `[[routes]]`: names that clients ask for, and who serves them.
//!
//! Every name that a route tells is looked up here, so that the router never meets one that it does not know.

mod movers;

use spillway_router::{BackendId, Boundary, Preference, Privacy, Route, RouteId};
use spillway_types::ModelId;

use super::ModelConfig;
use super::backends::{BackendConfig, BackendKind};
use super::document::KeyPath;
use super::key_error::{KeyError, Problem};
use super::names::name;
use super::raw::{RawPreference, RawPrivacy, RawRoute};

/// Most routes.
const MAX_ROUTES: usize = 256;
/// Most names of one route.
const MAX_MODELS: usize = 64;
/// Longest name of a model.
const MAX_MODEL_NAME_LEN: usize = 256;

/// The checked routes, and what the operator should know of them.
#[derive(Debug, Default)]
pub(super) struct CheckedRoutes {
    pub(super) routes: Vec<Route>,
    pub(super) warnings: Vec<KeyError>,
}

/// Checks all routes. Without any, the local model's names are a route of their own.
pub(super) fn validate(
    raw: Vec<RawRoute>,
    backends: &[BackendConfig],
    num_listed: usize,
    model: Option<&ModelConfig>,
) -> Result<CheckedRoutes, KeyError> {
    let section = KeyPath::section("routes");
    if raw.len() > MAX_ROUTES {
        return Err(section.item(MAX_ROUTES).out_of_place(format!("there may be at most {MAX_ROUTES}")));
    }
    let mut checked = CheckedRoutes::default();
    if raw.is_empty() {
        checked.routes.push(implied(backends, model)?);
        return Ok(checked);
    }
    for (route_idx, raw) in raw.into_iter().enumerate() {
        let at = section.item(route_idx);
        let route = Known { backends, at: &at }.route(raw, &mut checked.warnings)?;
        refuse_twice(&route, &checked.routes, &section)?;
        checked.routes.push(route);
    }
    for (backend_idx, backend) in backends.iter().enumerate() {
        let is_used = |route: &Route| {
            route.targets.contains(&backend.id)
                || route.shadow.as_ref().is_some_and(|shadow| shadow.backend == backend.id)
        };
        // The local model that nobody lists is not in the file either.
        if backend_idx < num_listed && !checked.routes.iter().any(is_used) {
            let at = KeyPath::section("backends").item(backend_idx).key("name");
            let expected = "among the targets of a route: nothing is sent there";
            checked.warnings.push(at.out_of_range(format!("`{}`", backend.id), expected));
        }
    }
    Ok(checked)
}

/// The route of the local model where none is listed.
fn implied(backends: &[BackendConfig], model: Option<&ModelConfig>) -> Result<Route, KeyError> {
    let mend =
        "add [[routes]] with name, default_privacy and targets: only the local model is served without";
    let missing = || KeyPath::section("routes").missing(mend);
    if backends.iter().any(|backend| backend.boundary == Boundary::Outside) {
        return Err(missing());
    }
    let local = backends.iter().find(|backend| backend.is_local());
    let (Some(local), Some(model)) = (local, model) else { return Err(missing()) };
    Ok(Route {
        id: RouteId::new(local.id.as_str()),
        models: std::iter::once(&model.served_name).chain(&model.aliases).cloned().collect(),
        default_privacy: Privacy::Standard,
        targets: vec![local.id.clone()],
        preference: Preference::Order,
        slo_ttft: None,
        overflow: Vec::new(),
        hard: None,
        tags: Vec::new(),
        split: Vec::new(),
        shadow: None,
        max_cost: None,
    })
}

/// A name of a route, and each name of a model, belongs to one route.
fn refuse_twice(route: &Route, others: &[Route], section: &KeyPath) -> Result<(), KeyError> {
    let at = section.item(others.len());
    for (other_idx, other) in others.iter().enumerate() {
        let first = section.item(other_idx);
        if other.id == route.id {
            let problem = Problem::Twice { name: route.id.to_string(), first: first.key("name") };
            return Err(at.key("name").is(problem));
        }
        for (model_idx, model) in route.models.iter().enumerate() {
            if let Some(first_idx) = other.models.iter().position(|known| known == model) {
                let first = first.key("models").item(first_idx);
                let problem = Problem::Twice { name: model.to_string(), first };
                return Err(at.key("models").item(model_idx).is(problem));
            }
        }
    }
    Ok(())
}

/// What one route is checked against.
struct Known<'a> {
    backends: &'a [BackendConfig],
    at: &'a KeyPath,
}

impl Known<'_> {
    fn route(&self, raw: RawRoute, warnings: &mut Vec<KeyError>) -> Result<Route, KeyError> {
        let at = self.at;
        let id = RouteId::new(name(raw.name, &at.key("name"))?);
        let default_privacy = self.default_privacy(raw.default_privacy)?;
        let targets = self.targets(&raw.targets, default_privacy)?;
        let slo_ttft = raw.slo_ttft.map(|span| at.key("slo_ttft").positive(span)).transpose()?;
        Ok(Route {
            models: self.models(raw.models, &id)?,
            default_privacy,
            preference: match raw.prefer {
                RawPreference::Order => Preference::Order,
                RawPreference::Cost => Preference::Cost,
                RawPreference::Latency => Preference::Latency,
            },
            slo_ttft,
            overflow: self.some_of(&raw.overflow, &targets, &at.key("overflow"))?,
            hard: raw.strong.map(|raw| self.hard(raw, &targets)).transpose()?,
            tags: self.tags(raw.tags, &targets)?,
            split: self.split(raw.split, &targets)?,
            shadow: raw.shadow.map(|raw| self.shadow(raw, default_privacy, warnings)).transpose()?,
            max_cost: raw.max_cost_usd.map(|dollars| dollars.0),
            targets,
            id,
        })
    }

    fn models(&self, named: Option<Vec<String>>, id: &RouteId) -> Result<Vec<ModelId>, KeyError> {
        let at = self.at.key("models");
        let Some(named) = named else { return Ok(vec![ModelId::new(id.as_str())]) };
        if named.is_empty() || named.len() > MAX_MODELS {
            let expected =
                format!("1 to {MAX_MODELS} names by which clients ask, or left out for the route's own");
            return Err(at.out_of_range(format!("{} long", named.len()), expected));
        }
        let mut models: Vec<ModelId> = Vec::with_capacity(named.len());
        for (model_idx, model) in named.into_iter().enumerate() {
            let at_model = at.item(model_idx);
            let is_fine = !model.trim().is_empty()
                && model.len() <= MAX_MODEL_NAME_LEN
                && !model.chars().any(char::is_control);
            if !is_fine {
                let value = format!("{} bytes long", model.len());
                let expected = format!("a name of 1 to {MAX_MODEL_NAME_LEN} bytes that can be seen");
                return Err(at_model.out_of_range(value, expected));
            }
            if let Some(first_idx) = models.iter().position(|other| other.as_str() == model) {
                return Err(at_model.is(Problem::Twice { name: model, first: at.item(first_idx) }));
            }
            models.push(ModelId::new(model));
        }
        Ok(models)
    }

    /// Where something is outside, each route must say what a request is that nobody labels.
    fn default_privacy(&self, said: Option<RawPrivacy>) -> Result<Privacy, KeyError> {
        let outside = self.backends.iter().find(|backend| backend.boundary == Boundary::Outside);
        match (said, outside) {
            (Some(said), _) => Ok(said.into()),
            (None, None) => Ok(Privacy::Standard),
            (None, Some(outside)) => Err(self.at.key("default_privacy").missing(format!(
                "backend `{}` is outside, so say what a request is that nobody labels: \"private\" stays inside, \
                 \"standard\" may leave",
                outside.id
            ))),
        }
    }

    fn targets(&self, named: &[String], default_privacy: Privacy) -> Result<Vec<BackendId>, KeyError> {
        let at = self.at.key("targets");
        if named.is_empty() {
            return Err(at.missing("name the backends that serve, in order of preference"));
        }
        let mut targets: Vec<BackendId> = Vec::with_capacity(named.len());
        for (target_idx, name) in named.iter().enumerate() {
            let backend = self.backend(name, &at.item(target_idx))?;
            refuse_again(&targets, &backend.id, &at)?;
            targets.push(backend.id.clone());
        }
        let is_reachable = |target: &BackendId| {
            self.backends
                .iter()
                .any(|backend| backend.id == *target && backend.boundary.admits(default_privacy))
        };
        if !targets.iter().any(is_reachable) {
            let expected =
                "standard, or the route have a target inside: nothing that arrives could be served";
            return Err(self.at.key("default_privacy").out_of_range("`private`", expected));
        }
        Ok(targets)
    }

    /// The backend of this name.
    fn backend(&self, name: &str, at: &KeyPath) -> Result<&BackendConfig, KeyError> {
        self.backends.iter().find(|backend| backend.id.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = self.backends.iter().map(|backend| format!("`{}`", backend.id)).collect();
            let mend = format!("there are {}; a [[backends]] with this name makes it one", known.join(", "));
            at.is(Problem::Unknown { name: name.to_owned(), what: "backend", mend })
        })
    }

    /// One of the route's targets.
    fn target(&self, name: &str, targets: &[BackendId], at: &KeyPath) -> Result<BackendId, KeyError> {
        let id = &self.backend(name, at)?.id;
        if targets.contains(id) {
            return Ok(id.clone());
        }
        let known: Vec<_> = targets.iter().map(|target| format!("`{target}`")).collect();
        let mend = format!("the route has {}; add it to targets", known.join(", "));
        Err(at.is(Problem::Unknown { name: name.to_owned(), what: "target of the route", mend }))
    }

    /// Some of the route's targets, each once.
    fn some_of(
        &self,
        named: &[String],
        targets: &[BackendId],
        at: &KeyPath,
    ) -> Result<Vec<BackendId>, KeyError> {
        let mut some: Vec<BackendId> = Vec::with_capacity(named.len());
        for (name_idx, name) in named.iter().enumerate() {
            let target = self.target(name, targets, &at.item(name_idx))?;
            refuse_again(&some, &target, at)?;
            some.push(target);
        }
        Ok(some)
    }

    /// Whether the local engine, which alone shows its own first tokens, is one of `targets`.
    fn has_local(&self, targets: &[BackendId], but: &BackendId) -> bool {
        let is_local = |backend: &BackendConfig| match backend.kind {
            BackendKind::Local => backend.id != *but && targets.contains(&backend.id),
            BackendKind::Bedrock(_) | BackendKind::OpenAi(_) => false,
        };
        self.backends.iter().any(is_local)
    }
}

/// Refuses the next item of a list if it is there already.
fn refuse_again(before: &[BackendId], next: &BackendId, at: &KeyPath) -> Result<(), KeyError> {
    match before.iter().position(|other| other == next) {
        Some(first_idx) => {
            let problem = Problem::Twice { name: next.to_string(), first: at.item(first_idx) };
            Err(at.item(before.len()).is(problem))
        }
        None => Ok(()),
    }
}

impl From<RawPrivacy> for Privacy {
    fn from(raw: RawPrivacy) -> Self {
        match raw {
            RawPrivacy::Standard => Self::Standard,
            RawPrivacy::Private => Self::Private,
        }
    }
}

#[cfg(test)]
mod tests;
